// Sends verdicts to the server, in order; the browser stores them until the server has saved them.
"use strict";

const RETRY_MS = 1500;
const PENDING = "cascade-pending"; // key of the verdicts not confirmed yet

let sending = Promise.resolve();
let nUnsaved = 0;

/** Show a message. */
function say(message) {
  document.getElementById("message").hidden = !message;
  document.getElementById("message").textContent = message;
}

async function fetchJson(address, options) {
  const response = await fetch(address, options);
  const answer = await response.json().catch(() => ({ error: `the server answered ${response.status}` }));
  if (!response.ok) throw Object.assign(new Error(answer.error), { refused: true });
  return answer;
}

const pending = () => JSON.parse(remembered(PENDING) ?? "[]");
const keep = (posts) => remembered(PENDING, JSON.stringify(posts));

/** Send a verdict, with retries until the server has saved it; the order of verdicts is preserved. */
function post(address, content) {
  const item = { address, content: { ...content, key: newKey() } };
  keep([...pending(), item]);
  return deliver(item);
}

function deliver(item) {
  nUnsaved += 1;
  const sent = sending.then(async () => {
    for (;;) {
      try {
        const answer = await fetchJson(item.address, {
          method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(item.content),
        });
        settled(item);
        say("");
        return answer;
      } catch (error) {
        if (error.refused) {
          settled(item);
          say(error.message);
          return undefined;
        }
        say(`The server is unreachable; verdicts not saved yet: ${nUnsaved}. Retrying.`);
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  });
  sending = sent;
  return sent;
}

function settled(item) {
  nUnsaved -= 1;
  keep(pending().filter((other) => other.content.key !== item.content.key));
}

/** A unique key; browsers lack randomUUID on plain HTTP from other machines. */
function newKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
