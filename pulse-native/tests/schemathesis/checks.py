"""What schemathesis cannot know of the HTTP API from its description."""

import itertools
import re

import schemathesis

numbers = itertools.count(1)

# What is told of a position that is well formed, but from which not all is kept.
UNRECOVERABLE = 1016


@schemathesis.hook
def before_call(context, case, kwargs):
    """Gives each good Idempotency-Key a number: one that came before is answered as that request was, or with 422."""
    key = case.headers.get("Idempotency-Key")
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers["Idempotency-Key"] = f"{next(numbers)}-{key}"[:255]


@schemathesis.check
def items_are_done_or_told(context, response, case):
    """Every item of a right request is done; of a wrong body that is answered 200 at least one item is told why it is not."""
    if response.status_code != 200 or case.operation.path.rsplit("/", 1)[-1] not in ("broadcast", "batch"):
        return
    errors = [item["error"] for item in response.json()["result"]["results"] if "error" in item]
    if case.meta.generation.mode.is_positive:
        errors = [error for error in errors if error["code"] != UNRECOVERABLE]
    if case.meta.generation.mode.is_positive:
        assert not errors, f"the description allows what is refused: {errors}"
    # Headers that nobody asked for make a request wrong too, but are passed over.
    elif any(place.value == "body" and part.mode.is_negative for place, part in case.meta.components.items()):
        assert errors, "the description does not allow what is done"


@schemathesis.check
def only_a_position_may_be_in_vain(context, response, case):
    """A question about history that the description allows fails for its position, and for nothing else."""
    if case.operation.path.rsplit("/", 1)[-1] != "history" or not case.meta.generation.mode.is_positive:
        return
    if response.status_code != 200:
        error = response.json()["error"]
        assert case.body.get("since") and error["code"] == UNRECOVERABLE, f"the description allows what is refused: {error}"
