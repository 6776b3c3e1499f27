// The page of the plugin inside the host's web UI. The host loads this file, then calls
// mount(container, api), and unmount(container) when the user leaves.
(() => {
  "use strict";

  function element(name, text) {
    const node = document.createElement(name);
    if (text !== undefined) node.textContent = text;
    return node;
  }

  async function text(response) {
    if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
    return response.text();
  }

  async function mount(container, api) {
    const title = element("h2", "Hello from Rust");
    const counter = element("p", "Counter: …");
    const button = element("button", "Count");
    const note = element("input");
    note.placeholder = "A note, kept in the plugin's store";
    const save = element("button", "Save");

    const show = (count) => { counter.textContent = `Counter: ${count}`; };
    const fail = (error) => api.showToast(error.message, "error");

    button.addEventListener("click", () =>
      api.fetch("/counter", { method: "POST" }).then(text).then(show).catch(fail));
    save.addEventListener("click", () =>
      api.kv.set("note", note.value).then(() => api.showToast("Saved", "success")).catch(fail));

    container.replaceChildren(title, counter, button, element("hr"), note, save);
    try {
      show(await text(await api.fetch("/counter")));
      note.value = (await api.kv.get("note")) ?? "";
    } catch (error) {
      fail(error);
    }
  }

  function unmount(container) {
    container.replaceChildren();
  }

  window.ToruPlugins = window.ToruPlugins || {};
  window.ToruPlugins["hello-rust"] = { mount, unmount };
})();
