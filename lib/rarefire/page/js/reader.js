// The ghost reader; rarefire.page.reader says what it shows and what travels in the page.

const NONE = 65535;

function render({ model, el }) {
  const addresses = [];
  const sheet = given => {
    if (!given.file) return null;
    const url = address(given.file, given.type);
    addresses.push(url);
    return { ...given, url };
  };
  const shelves = model.get("shelves").map(shelf => ({
    ...shelf,
    pictures: sheet(shelf.pictures),
    examples: sheet(shelf.examples),
    categories: shelf.categories.map(category => ({
      ...category, top: numbers(category.top, Uint16Array),
      explained: numbers(category.explained, Float32Array), control: numbers(category.control, Float32Array),
    })),
  }));
  const now = () => {
    const shelf = shelves[model.get("shelf")];
    const c = Math.min(model.get("category"), shelf.categories.length - 1), category = shelf.categories[c];
    const [steps, components, count] = category.shape, step = Math.min(model.get("step"), steps - 1);
    const at = j => category.explained[step * components + j];
    const there = Array.from({ length: components }, (_, j) => j).filter(j => at(j) === at(j));
    const component = Math.min(model.get("component"), Math.max(0, there.length - 1));
    const best = j => [...category.top.subarray((step * components + j) * count, (step * components + j + 1) * count)].filter(tile => tile !== NONE);
    return {
      shelf, c, category, step, component, there, explained: at, best,
      control: category.control[step * components + component],
    };
  };

  const images = menu("Images", chosen => set(model, { shelf: chosen, category: 0, step: longest(chosen), component: 0 }));
  const longest = chosen => Math.max(...shelves[chosen].categories.map(category => category.m.length)) - 1;
  const categories = menu("Category", chosen => set(model, { category: chosen }));
  const many = slider("Images that define the ghosts", { min: 0, input: () => set(model, { step: many.input.valueAsNumber }) });
  const count = element("output", { class: "rf-r2", ...QUIET }), said = element("span");
  const bars = element("div", { class: "rf-components", role: "radiogroup", "aria-label": "Component" });
  const own = element("div", { class: "rf-tiles" }), top = element("div", { class: "rf-tiles" });
  const ownTitle = element("b"), topTitle = element("b"), control = element("p", { class: "rf-foot" });
  const ownBox = element("div", {}, ownTitle, own);
  const link = download(`${model.get("name")}-images`, table);
  const root = element("div", { class: "rf-reader", role: "group", "aria-label": "Ghost reader" },
    element("div", { class: "rf-controls" }, images.box, categories.box), many.box,
    element("p", { class: "rf-result" }, count, said), ownBox, bars, element("div", {}, topTitle, top), control,
    element("p", { class: "rf-foot" }, link));

  function tile(sheet, index, label) {
    if (!sheet) return element("span", { class: "rf-name" }, label);
    const { columns, rows, url, tile: [width, height] } = sheet, part = (i, of) => (of > 1 ? (100 * i) / (of - 1) : 0);
    return element("span", { class: "rf-tile", role: "img", "aria-label": label, title: label,
      style: `aspect-ratio:${width}/${height};background:url(${url}) ${part(index % columns, columns)}% ${part(Math.floor(index / columns), rows)}%/${100 * columns}% ${100 * rows}%` });
  }

  // Empty places keep the page where it is while the slider moves.
  const filled = (tiles, sheet, places) => [...tiles, ...Array.from({ length: sheet ? places - tiles.length : 0 }, () =>
    element("span", { style: `aspect-ratio:${sheet.tile.join("/")}` }))];

  const buttons = [];
  function component(j) {
    buttons[j] ??= (() => {
      const bar = element("i"), value = element("span");
      const input = element("input", { type: "radio", name: group, value: j, ...OWN_KEYS, change: () => set(model, { component: j }) });
      return { box: element("label", {}, input, element("span", {}, `component ${j + 1}`), bar, value), input, bar, value };
    })();
    return buttons[j];
  }
  const group = unique("component");

  function draw() {
    const s = now(), { shelf, category, step } = s, m = category.m[step], ghosts = category.ghosts[step], all = category.m.at(-1);
    images.show(shelves.map(other => `${other.stimuli}, ${other.network}`), model.get("shelf"));
    categories.show(shelf.categories.map(other => other.name), s.c);
    many.input.max = category.m.length - 1;
    many.input.value = step;
    many.value.textContent = `${m} of ${all}`;
    count.textContent = `${ghosts.toLocaleString("en")} ghost${ghosts === 1 ? "" : "s"} after ${m} image${m === 1 ? "" : "s"}`;
    const share = percent(ghosts / shelf.p, ghosts / shelf.p < 0.1 ? 1 : 0), features = `${shelf.p.toLocaleString("en")} features`;
    const never = `${category.dead.toLocaleString("en")} ${ghosts ? "more " : ""}never fire.`;
    const text = (ghosts ? `${share} of ${features}: silent for ${m === 1 ? "it" : "all of these"}, active for some other. ` : `${features}. `) + never +
      (m === 1 ? " One image says little about a category." : "");
    said.textContent = text;
    many.input.setAttribute("aria-valuetext", `${m} of ${all} images: ${count.textContent}. ${text}`);
    ownBox.hidden = !category.own.length;
    const shown = category.own.slice(0, m);
    ownTitle.textContent = `${category.name}: ${m === 1 ? "the image that defines" : `${shown.length < m ? `${shown.length} of ` : ""}the ${m} images that define`} the ghosts`;
    own.replaceChildren(...filled(shown.map((index, i) => tile(shelf.examples, index, `${category.name}, image ${i + 1}`)), shelf.examples, category.own.length));
    const most = Math.max(...s.there.map(s.explained), 1e-9);
    const focused = root.contains(document.activeElement) && document.activeElement?.name === group;
    const wanted = s.there.map(component);
    if (bars.childElementCount !== wanted.length) bars.replaceChildren(...wanted.map(button => button.box));
    s.there.forEach((j, i) => {
      wanted[i].bar.style.width = `${(3 * s.explained(j)) / most}rem`;
      wanted[i].value.textContent = percent(s.explained(j), s.explained(j) < 0.1 ? 1 : 0);
      wanted[i].input.checked = j === s.component;
    });
    if (focused) wanted[s.component]?.input.focus();
    bars.hidden = !wanted.length;
    topTitle.textContent = wanted.length ? `Score highest on component ${s.component + 1} of the ghosts' activations`
      : ghosts ? "These ghosts fire for no image of the gallery" : "No ghosts: every feature fires for some image of the category, or for none at all";
    const best = s.best(s.component);
    top.replaceChildren(...filled(best.map(index => tile(shelf.pictures, index, shelf.names[index])), shelf.pictures, category.shape[2]));
    top.hidden = link.hidden = !best.length;
    control.textContent = s.control === s.control
      ? `As many random features, none of them ghosts, explain ${percent(s.control)} of this component.` : "";
  }

  function table() {
    const s = now(), { shelf, category } = s;
    return s.there.flatMap(j => s.best(j).map((index, rank) => ({
      category: category.name, images: category.m[s.step], ghosts: category.ghosts[s.step], component: j + 1,
      explained: s.explained(j), rank: rank + 1, image: shelf.names[index] })));
  }

  const unmount = mount({ model, el }, root, ["shelf", "category", "step", "component"], draw);
  return () => { unmount(); for (const url of addresses) URL.revokeObjectURL(url); };
}

export default { render };
