// Who is in the channel on screen, and the form to be there too.

import { byId, count, make, setText } from "./dom.js";
import { encodeData } from "./payload.js";
import { announce } from "./status.js";

export class Presence {
  #session;
  #channel = null;

  constructor(session) {
    this.#session = session;
    byId("appear").onsubmit = (event) => {
      event.preventDefault();
      this.#do((channel) => channel.appear(encodeData(byId("data").value)), "You are present");
    };
    byId("disappear").onclick = () => this.#do((channel) => channel.disappear(), "You are not present any more");
  }

  show(channel) {
    if (channel !== this.#channel) setText(byId("appear-error"), "");
    this.#channel = channel;
    byId("presence").hidden = channel === null;
    if (channel === null) return;
    const { totals, members, presenceRefused, isPresent } = channel;
    setText(byId("totals"), words(totals, presenceRefused));
    setText(byId("appear-button"), isPresent ? "Update" : "Join");
    const button = byId("disappear");
    if (!isPresent && document.activeElement === button) byId("appear-button").focus();
    button.hidden = !isPresent;
    const own = this.#session.state.connectionId;
    byId("members").replaceChildren(...[...members.values()].map((member) => row(member, own)));
    const hidden = (totals?.clients ?? 0) - members.size;
    setText(byId("members-more"), hidden > 0 && members.size > 0 ? `and ${hidden.toLocaleString("en")} more` : "");
  }

  async #do(work, done) {
    try {
      await work(this.#channel);
      setText(byId("appear-error"), "");
      announce(done);
    } catch (refused) {
      setText(byId("appear-error"), `Refused: ${refused.message}`);
    }
  }
}

function words(totals, refused) {
  if (refused !== "") return `Not to be had: ${refused}`;
  if (totals === null) return "Waiting for the server.";
  if (totals.clients === 0) return "Nobody is present. Subscribing alone shows nobody: join to be seen.";
  return totals.users === totals.clients
    ? `${count(totals.clients, "client")} present`
    : `${count(totals.clients, "client")} of ${count(totals.users, "user")} present`;
}

function row({ client, user, name, shown }, own) {
  return make(
    "li",
    { className: "member" },
    make(
      "div",
      { className: "who" },
      make("strong", {}, user ?? name ?? "Unnamed"),
      client === own ? make("span", { className: "you" }, "you") : undefined,
    ),
    shown === "" ? undefined : make("code", { className: "data" }, shown),
    make("span", { className: "client" }, client),
  );
}
