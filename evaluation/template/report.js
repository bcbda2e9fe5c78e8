(() => {
  "use strict";
  const tip = document.getElementById("tip");
  const short = (value) => String(Number(value.toPrecision(4))).replace("-", "−");
  const isFormula = /^(?:[A-Z][a-z]?|[()]|\d+(?:\.\d+)?)+$/;
  const formula = (text) => isFormula.test(text)
    ? text.replace(/([A-Za-z)])([\d.]+)/g, (_, a, n) => a + n.replace(/\d/g, (d) => "₀₁₂₃₄₅₆₇₈₉"[d]))
    : text;

  function show(lines, x, y) {
    tip.replaceChildren(...lines.map((line, n) => {
      const part = document.createElement(n ? "div" : "b");
      part.textContent = line;
      return part;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const edge = document.documentElement.clientWidth - box.width - 8;
    tip.style.left = Math.max(8, Math.min(x + 14, edge)) + "px";
    tip.style.top = (y > box.height + 24 ? y - box.height - 12 : y + 18) + "px";
  }
  const hide = () => { tip.hidden = true; };

  const svg = document.querySelector("svg[data-points]");
  const source = document.getElementById("points");
  const pointer = svg && source ? nearestPoint(svg, JSON.parse(source.textContent)) : () => null;

  function nearestPoint(svg, data) {
    const [left, right, bottom, top] = data.frame;
    const position = data.log ? Math.log : (v) => v;
    const [low, high] = data.range.map(position);
    const across = (right - left) / (high - low);
    const down = (bottom - top) / (high - low);
    const x = Float32Array.from(data.target, (v) => left + (position(v) - low) * across);
    const y = Float32Array.from(data.predicted, (v) => bottom - (position(v) - low) * down);
    const ring = svg.querySelector(".ring");
    const firstOfRest = data.splits[0][1];

    function nearest(at, from, to, reach) {
      let best = -1, least = reach * reach;
      for (let i = from; i < to; i++) {
        const distance = (x[i] - at.x) ** 2 + (y[i] - at.y) ** 2;
        if (distance < least) { least = distance; best = i; }
      }
      return best;
    }
    function splitOf(i) {
      for (const [name, count] of data.splits) {
        if (i < count) return name;
        i -= count;
      }
    }
    return (event) => {
      ring.setAttribute("r", 0);
      if (!event || !svg.contains(event.target)) return null;
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
      let i = nearest(at, 0, firstOfRest, 6);  // test rows lie in front
      if (i < 0) i = nearest(at, firstOfRest, x.length, 8);
      if (i < 0) return null;
      ring.setAttribute("cx", x[i]);
      ring.setAttribute("cy", y[i]);
      ring.setAttribute("r", 5);
      const unit = svg.dataset.unit;
      return [
        formula(data.formula[i]),
        data.id[i],
        "reference " + short(data.target[i]) + " " + unit,
        "predicted " + short(data.predicted[i]) + " " + unit,
        splitOf(i),
      ];
    };
  }

  function point(event) {
    const lines = pointer(event) || (event.target.closest("[data-tip]") || {}).dataset?.tip.split("\n");
    if (lines) show(lines, event.clientX, event.clientY);
    else hide();
  }
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("scroll", () => { pointer(null); hide(); }, { passive: true });
  document.documentElement.addEventListener("pointerleave", hide);
  addEventListener("beforeprint", () => {
    hide();
    for (const part of document.querySelectorAll("details")) part.open = true;
  });
})();
