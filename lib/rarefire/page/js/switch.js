// A small embedding whose features can be switched on and off; see rarefire.page.widgets.FeatureSwitch.

function render({ model, el }) {
  const vectors = model.get("vectors"), names = model.get("names"), count = vectors[0].length;
  const pairs = names.flatMap((_, i) => names.slice(i + 1).map((_, j) => [i, i + 1 + j]));
  const boxes = vectors[0].map((_, feature) => element("input", { type: "checkbox", ...OWN_KEYS,
    change: () => set(model, { on: model.get("on").map((on, f) => (f === feature ? boxes[f].checked : on)) }) }));
  const rows = vectors.map((vector, i) => element("tr", {}, element("th", { scope: "row" }, names[i]), ...vector.map(v => element("td", {}, String(v)))));
  const head = element("tr", {}, element("th", { scope: "col" }, "feature"), ...boxes.map((box, f) => element("th", { scope: "col" }, element("label", {}, box, element("span", { class: "rf-hidden" }, "feature "), String(f + 1)))));
  const bars = pairs.map(([i, j]) => {
    const bar = element("i", { class: "rf-pearson" }), mark = element("i", { class: "rf-cosine" }), words = element("span");
    const title = `${names[i]} and ${names[j]}`;
    return { bar, mark, words, title, row: element("div", { class: "rf-pair" }, element("b", {}, title), element("div", { class: "rf-track", "aria-hidden": "true" }, bar, mark), words) };
  });
  const verdict = element("p", { role: "status" });
  const root = element("div", { class: "rf-switch", role: "group", "aria-label": "Features to switch on and off" },
    element("div", { class: "rf-scroll" }, element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows))),
    element("div", { class: "rf-key" }, element("i", { class: "rf-pearson" }), "Pearson ", element("i", { class: "rf-cosine" }), "cosine",
      element("span", {}, "similarity, from −1 to 1")),
    ...bars.map(bar => bar.row), verdict,
    element("p", { class: "rf-foot" }, "Switch a feature off and on above. ", download(`${model.get("name")}-similarities`, table)));

  // Similarity of every pair in the features that are on.
  function similar(metric) {
    const order = model.get("on").flatMap((on, feature) => (on ? [feature] : []));
    if (!order.length) return pairs.map(() => NaN);
    const embedding = vectors.flatMap(vector => order.map(feature => vector[feature]));
    const square = similarities(residuals(embedding, names.length, order.length, [...order.keys()], metric), order.length, new Float64Array(names.length ** 2));
    return pairs.map(([i, j]) => square[i * names.length + j]);
  }

  function draw() {
    const on = model.get("on"), pearson = similar("correlation"), cosine = similar("cosine");
    boxes.forEach((box, f) => { box.checked = on[f]; });
    for (const row of [head, ...rows]) on.forEach((active, f) => row.children[f + 1].classList.toggle("rf-off", !active));
    bars.forEach(({ bar, mark, words }, i) => {
      const r = pearson[i], c = cosine[i];
      bar.hidden = r !== r; mark.hidden = c !== c;
      bar.style.left = `${50 + 50 * Math.min(0, r || 0)}%`;
      bar.style.width = `${50 * Math.abs(r || 0)}%`;
      mark.style.left = `${50 + 50 * (c || 0)}%`;
      words.textContent = `${shortly(r, 2)}  (cosine ${shortly(c, 2)})`;
    });
    const closest = values => {
      const known = values.filter(v => v === v), most = Math.max(...known);
      const first = bars.filter((_, i) => Math.abs(values[i] - most) < 1e-9).map(({ title }) => title);
      return !known.length ? "undefined" : first.length === bars.length ? "all equally" : first.join(", ");
    };
    const [p, c] = [closest(pearson), closest(cosine)];
    verdict.textContent = p === c ? `Most alike, by either measure: ${p}.` : `Most alike by Pearson: ${p}; by cosine: ${c}.`;
  }

  function table() {
    const pearson = similar("correlation"), cosine = similar("cosine");
    return bars.map(({ title }, i) => ({ pair: title, pearson: pearson[i], cosine: cosine[i] }));
  }

  return mount({ model, el }, root, ["on"], draw);
}

export default { render };
