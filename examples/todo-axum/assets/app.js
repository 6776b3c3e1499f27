// Shows changes of others as they happen. Without this script the forms still work.

const list = document.getElementById("list");
const live = document.getElementById("live");
const LONGEST_WAIT = 10_000;
let socket;
let wait = 500;

function element(name, properties, ...children) {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
}

function form(action, className, label, text) {
  const button = element("button", { className, ariaLabel: label, textContent: text });
  return element("form", { method: "post", action }, button);
}

function item({ id, text, done, by }) {
  const check = form(`todos/${id}/toggle`, "check", "Done", "");
  check.firstChild.ariaPressed = done;
  const words = element("p", {},
    element("span", { className: "text", textContent: text }),
    element("small", { textContent: by || "someone" }));
  return element("li", { className: done ? "done" : "" }, check, words,
    form(`todos/${id}/delete`, "delete", "Delete", "×"));
}

function connect() {
  // Relative to the page's base, wherever that is mounted.
  socket = new WebSocket(new URL("live", document.baseURI).href.replace(/^http/, "ws"));
  socket.addEventListener("open", () => { live.textContent = "live"; wait = 500; });
  socket.addEventListener("message", ({ data }) => list.replaceChildren(...JSON.parse(data).todos.map(item)));
  socket.addEventListener("close", () => {
    live.textContent = "connecting …";
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, LONGEST_WAIT);
  });
}

// A form that changes the list needs no new page: the list comes by the socket.
document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (socket.readyState !== WebSocket.OPEN || form.closest("footer")) return;
  event.preventDefault();
  const answer = await fetch(form.action, {
    method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual",
  });
  if (answer.ok || answer.type === "opaqueredirect") form.reset();
  else live.textContent = await answer.text();
});

connect();
