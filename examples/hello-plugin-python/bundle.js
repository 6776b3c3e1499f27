// The page of this plugin in the host's UI: `mount` is called with an element and the host's api.
(() => {
  const pages = new WeakMap();

  function mount(container, api) {
    const title = document.createElement("h2");
    title.textContent = "Hello from Python";
    const count = document.createElement("p");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Count";

    async function show(method) {
      const answer = await api.fetch("/counter", { method });
      if (!answer.ok) throw new Error(`the counter answered ${answer.status}`);
      count.textContent = `Counted ${(await answer.json()).count} times.`;
    }
    const report = (error) => api.showToast(error.message, "error");

    button.addEventListener("click", () => show("POST").catch(report));
    container.append(title, count, button);
    pages.set(container, [title, count, button]);
    show("GET").catch(report);
  }

  function unmount(container) {
    for (const element of pages.get(container) ?? []) element.remove();
    pages.delete(container);
  }

  window.ToruPlugins = window.ToruPlugins ?? {};
  window.ToruPlugins["hello-python"] = { mount, unmount };
})();
