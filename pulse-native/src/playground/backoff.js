// How long to stay away before the next attempt: drawn evenly over the whole window ("full jitter"), so that the pages of a
// server that fell over do not come back in waves. The numbers are those of the other clients.

const FLOOR_MS = 50;
const FIRST_MS = 500;
const CEILING_MS = 20_000;

/** A connection has to last this long for the count of attempts to start over. */
export const STABLE_MS = 5_000;

/** Milliseconds before attempt number `attempt`, counted from 0. */
export function delayMs(attempt) {
  const window = Math.min(FIRST_MS * 2 ** attempt, CEILING_MS);
  return FLOOR_MS + Math.floor(Math.random() * (window - FLOOR_MS + 1));
}
