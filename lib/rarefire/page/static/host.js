// Runs the page's widgets (anywidget modules) without a kernel, on the state that the notebook stored.
// Each takes the place of the drawing in its figure; where that fails, the drawing stays.
(() => {
  const kind = what => `script[type="application/vnd.jupyter.widget-${what}+json"]`;
  const stored = document.querySelector(kind("state"));
  if (!stored) return;
  const state = JSON.parse(stored.textContent).state, models = new Map(), modules = new Map();

  const bytes = text => new DataView(Uint8Array.from(atob(text), c => c.charCodeAt(0)).buffer);

  // What an anywidget module calls a model: values, and listeners to their changes.
  function model(id) {
    if (models.has(id)) return models.get(id);
    const values = { ...state[id].state }, listeners = {};
    for (const { path, data } of state[id].buffers ?? []) {
      const last = path.at(-1), holder = path.slice(0, -1).reduce((value, key) => value[key], values);
      holder[last] = bytes(data);
    }
    const made = {
      get: name => values[name],
      set(name, value) {
        if (values[name] === value) return;
        values[name] = value;
        for (const listener of [...(listeners[`change:${name}`] ?? [])]) listener();
      },
      save_changes() {},
      send() {},
      on(event, listener) { (listeners[event] ??= new Set()).add(listener); },
      off(event, listener) { listeners[event]?.delete(listener); },
    };
    models.set(id, made);
    return made;
  }

  function load(source) {
    if (!modules.has(source)) modules.set(source, import(URL.createObjectURL(new Blob([source], { type: "text/javascript" }))));
    return modules.get(source);
  }

  const reference = name => name.replace("IPY_MODEL_", "");
  for (const { model_name, state: link } of Object.values(state)) { // ipywidgets.jslink, jsdlink
    if (!/^(Directional)?LinkModel$/.test(model_name)) continue;
    const [[a, from], [b, to]] = [link.source, link.target].map(([id, name]) => [model(reference(id)), name]);
    const forth = () => b.set(to, a.get(from)), back = () => a.set(from, b.get(to));
    forth();
    a.on(`change:${from}`, forth);
    if (model_name === "LinkModel") b.on(`change:${to}`, back);
  }

  const begun = new Set();
  async function wake(figure) {
    const caption = figure.querySelector("figcaption"), place = document.createElement("div");
    figure.insertBefore(place, caption);
    try {
      const drawn = model(figure.dataset.widget);
      const { default: widget } = await load(drawn.get("_esm"));
      await widget.render({ model: drawn, el: place });
      for (const child of [...figure.children]) if (child !== place && child !== caption) child.remove();
      figure.dataset.ready = "";
    } catch (error) {
      place.remove();
      figure.removeAttribute("style");
      console.error(error);
    }
  }

  // While the rest of a long page is still being read: each figure as soon as something follows it.
  const followed = node => node && (node.nextSibling || followed(node.parentNode));
  let last = Promise.resolve();
  function look() {
    const read = document.readyState !== "loading";
    for (const figure of document.querySelectorAll("[data-widget]")) {
      if (begun.has(figure) || !(read || followed(figure))) continue;
      begun.add(figure);
      last = last.then(() => wake(figure)); // one after the other, as they stand
    }
  }
  const watch = new MutationObserver(look);
  watch.observe(document, { childList: true, subtree: true });
  document.addEventListener("DOMContentLoaded", () => {
    watch.disconnect();
    look();
  });
  look();
})();
