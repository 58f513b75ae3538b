// A nested curve, with a marker that can be dragged.

const PLOT = { left: 34, top: 8, width: 258, height: 120, bottom: 8 + 120, rug: 9 };

class CurvePlot {
  constructor(moved) {
    const { left, width } = PLOT;
    this.box = element("svg:svg", { viewBox: "0 0 300 172", role: "img", class: "rf-curve" });
    this.still = element("svg:g");
    this.ticks = element("svg:path", { class: "rf-rug" });
    this.inside = element("svg:path", { class: "rf-rug rf-in" });
    this.line = element("svg:path", { class: "rf-cut" });
    this.dot = element("svg:circle", { r: 4.5 });
    this.box.append(this.still, this.ticks, this.inside, this.line, this.dot);
    dragged(this.box, share => moved((share * 300 - left) / width));
  }

  x(share) {
    return PLOT.left + share * PLOT.width;
  }

  y(value) {
    return PLOT.bottom - (value / this.highest) * PLOT.height;
  }

  // `lines`: [order, R² at every step] with the one in use last; `highest`: where the axis ends; `ghosts`: places
  // in the order in use; `ceiling`: of r, [low, high] or null; `steps`: numbers of features, every one by default.
  draw(lines, { highest, ceiling, ghosts, p, ylabel, steps = Int32Array.from({ length: p }, (_, i) => i + 1) }) {
    const [order, r2] = lines.at(-1);
    Object.assign(this, { highest, ghosts, p, order, r2, steps });
    this.still.replaceChildren(...this.axes(ylabel), ...(ceiling ? this.ceiling(ceiling) : []), ...lines.map(line => this.curve(...line)));
  }

  axes(ylabel) {
    const { left, top, width, bottom, height, rug } = PLOT, { highest } = this, parts = [];
    for (const share of [0, 0.25, 0.5, 0.75, 1])
      parts.push(svgText(this.x(share), bottom + rug + 16, percent(share), share === 1 ? "end" : "middle"));
    const step = highest > 0.6 ? 0.5 : highest > 0.3 ? 0.2 : highest > 0.12 ? 0.1 : 0.05;
    for (let value = 0; value <= highest + 1e-9; value += step) {
      const y = this.y(value);
      parts.push(element("svg:path", { class: "rf-grid", d: `M${left} ${y}h${width}` }), svgText(left - 5, y + 3.5, String(+value.toFixed(2)), "end"));
    }
    return [...parts, svgText(left + width / 2, bottom + rug + 32, "share of features kept", "middle"),
      element("svg:text", { class: "rf-ylabel", transform: `translate(9 ${top + height / 2}) rotate(-90)`, "text-anchor": "middle" }, ylabel)];
  }

  ceiling(ceiling) {
    const { left, width } = PLOT, [low, high] = ceiling.map(r => this.y(r ** 2));
    return [element("svg:rect", { class: "rf-ceiling", x: left, width, y: high, height: Math.max(1, low - high) }),
      svgText(left + width, high - 3, "noise ceiling", "end")];
  }

  curve(order, r2) {
    let d = "", pen = "M";
    for (const [step, k] of this.steps.entries()) {
      const value = r2[step];
      if (value === value) { d += `${pen}${this.x(k / this.p).toFixed(1)} ${this.y(value).toFixed(1)}`; pen = "L"; } else pen = "M";
    }
    return element("svg:path", { class: `rf-line rf-${order}${order === this.order ? " rf-now" : ""}`, d });
  }

  move(k, description) {
    const { top, bottom, rug } = PLOT, { ghosts, p, r2, order, steps } = this, x = this.x(k / p), value = r2[steps.indexOf(k)];
    const marks = (places, long) => places.map(place => `M${this.x((place + 1) / p).toFixed(1)} ${bottom + 2}v${long}`).join("");
    this.ticks.setAttribute("d", marks(ghosts, (rug - 3) / 2));
    this.inside.setAttribute("d", marks(ghosts.filter(place => place < k), rug - 3));
    this.line.setAttribute("d", `M${x} ${top}V${bottom + rug}`);
    this.dot.setAttribute("class", value === value ? `rf-dot rf-${order}` : "rf-none");
    this.dot.setAttribute("cx", x);
    this.dot.setAttribute("cy", this.y(value === value ? value : 0));
    this.box.setAttribute("aria-label", description);
  }
}

// R² with people may be small: the axis ends above all that is drawn.
function axisEnd(lines, ceiling) {
  const tops = lines.map(([, r2]) => Math.max(...r2.map(v => (v === v ? v : 0))));
  return Math.min(1, Math.max(0.05, 1.15 * Math.max(...tops, ...(ceiling ?? []).map(r => r * r))));
}

