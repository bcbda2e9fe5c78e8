// Saves a figure as an SVG that stands alone, as it is on the screen, and its numbers as CSV.
(() => {
  "use strict";
  const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin", "opacity"];
  const WRITTEN = ["fill", "font-family", "font-size", "font-weight"];

  function make(name, attributes) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    return node;
  }

  // The lines of an element's text, broken where the screen breaks them.
  function linesOf(element) {
    const lines = [], range = document.createRange();
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
      for (const word of node.data.matchAll(/\S+/g)) {
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const box = range.getBoundingClientRect(), last = lines.at(-1);
        if (last && Math.abs(last.top - box.top) < 3) last.text += " " + word[0];
        else lines.push({ text: word[0], left: box.left, top: box.top, middle: (box.top + box.bottom) / 2 });
      }
    }
    return lines;
  }

  function textOf(element, corner) {
    const style = getComputedStyle(element);
    return linesOf(element).map((line) => {
      const text = make("text", {
        x: line.left - corner.left, y: line.middle - corner.top, "dominant-baseline": "central", fill: style.color,
        "font-family": style.fontFamily, "font-size": style.fontSize, "font-weight": style.fontWeight,
      });
      text.textContent = line.text;
      return text;
    });
  }

  function copyOf(chart, corner) {
    const copy = chart.cloneNode(true);
    const nodes = [...copy.querySelectorAll("*")];
    chart.querySelectorAll("*").forEach((node, n) => {
      if (node.matches(".zone, .ring")) return nodes[n].remove();
      const style = getComputedStyle(node);
      for (const name of node.matches("text") ? WRITTEN : DRAWN) nodes[n].setAttribute(name, style.getPropertyValue(name));
      for (const name of ["class", "data-tip"]) nodes[n].removeAttribute(name);
    });
    const box = chart.getBoundingClientRect();
    for (const { name } of [...copy.attributes]) if (name !== "viewBox") copy.removeAttribute(name);
    const place = { x: box.left - corner.left, y: box.top - corner.top, width: box.width, height: box.height };
    for (const [name, value] of Object.entries(place)) copy.setAttribute(name, value);
    return copy;
  }

  function pictureOf(figure) {
    const box = figure.getBoundingClientRect();
    const texts = figure.querySelectorAll("h3, .key li, figcaption"), charts = figure.querySelectorAll("svg");
    const below = Math.max(...[...texts, ...charts].map((node) => node.getBoundingClientRect().bottom));
    const size = { width: box.width, height: below - box.top + 14 };
    const picture = make("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}` });
    const title = make("title", {});
    title.textContent = figure.querySelector("h3").textContent;
    const paper = make("rect", { width: "100%", height: "100%", fill: getComputedStyle(figure).backgroundColor });
    picture.append(title, paper, ...[...texts].flatMap((node) => textOf(node, box)));
    picture.append(...[...charts].map((chart) => copyOf(chart, box)));
    return new XMLSerializer().serializeToString(picture);
  }

  // Columns by name; those of the plot with points are the page's list of materials.
  function columnsOf(figure) {
    const own = figure.querySelector("script.numbers");
    if (own) return JSON.parse(own.textContent);
    const points = JSON.parse(document.getElementById("points").textContent);
    const unit = figure.querySelector("[data-points]").dataset.unit;
    const named = (name) => unit ? `${name} (${unit})` : name;
    return {
      material_id: points.id,
      formula: points.formula,
      split: points.splits.flatMap(([name, count]) => Array(count).fill(name)),
      [named("reference")]: points.target,
      [named("predicted")]: points.predicted,
    };
  }

  function csvOf(figure) {
    const columns = Object.entries(columnsOf(figure));
    const cell = (value) => /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
    const lines = [columns.map(([name]) => cell(name)).join(",")];
    for (let row = 0; row < columns[0][1].length; row++) lines.push(columns.map(([, values]) => cell(values[row])).join(","));
    return lines.join("\r\n") + "\r\n";
  }

  function save(content, type, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  for (const group of document.querySelectorAll(".save")) group.hidden = false;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-save]");
    if (!button) return;
    const figure = button.closest("figure");
    const words = `${document.body.dataset.name || ""} ${figure.querySelector("h3").textContent}`;
    const name = words.trim().replace(/[^\p{L}\p{N}_]+/gu, "-");
    if (button.dataset.save === "svg") save(pictureOf(figure), "image/svg+xml", name + ".svg");
    else save(csvOf(figure), "text/csv;charset=utf-8", name + ".csv");
  });
})();
