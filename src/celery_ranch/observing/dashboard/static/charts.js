// Figures over time, drawn by uPlot; the same figures stand in a table for who cannot see them.

import { html } from "./vendor/lit-html/lit-html.js";
import { ref } from "./vendor/lit-html/directives/ref.js";

const HEIGHT = 170;
const drawn = new WeakMap();
const darkness = matchMedia("(prefers-color-scheme: dark)");
const size = new ResizeObserver((entries) => {
  for (const { target, contentRect } of entries) {
    const width = Math.floor(contentRect.width);
    if (width > 0) drawn.get(target)?.plot.setSize({ width, height: HEIGHT });
  }
});

function color(element, name) {
  return getComputedStyle(element).getPropertyValue(name).trim();
}

function options(element, chart) {
  const lines = { stroke: color(element, "--quiet"), grid: { stroke: color(element, "--line"), width: 1 },
    ticks: { show: false }, font: "12px system-ui, sans-serif" };
  return {
    width: Math.max(200, Math.floor(element.clientWidth)),
    height: HEIGHT,
    cursor: { drag: { x: false, y: false } },
    legend: { live: true },
    hooks: { ready: [latest] },
    scales: { y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max(high ?? 0, chart.least ?? 1) * 1.05] } },
    axes: [{ ...lines, space: 70 }, { ...lines, size: 56, values: (_, ticks) => ticks.map(chart.shown) }],
    series: [{ value: (_, at) => (at == null ? "" : new Date(at * 1000).toLocaleTimeString()) },
      ...chart.series.map((name, at) => ({
        label: name,
        stroke: color(element, `--series-${at + 1}`),
        width: 2,
        dash: [[], [6, 4], [2, 3]][at],
        value: (_, value) => (value == null ? "–" : chart.shown(value)),
      }))],
  };
}

function draw(element, chart) {
  const before = drawn.get(element);
  if (before && before.dark === darkness.matches && before.series === chart.series.join()) {
    if (before.stamp !== chart.stamp) {
      before.plot.setData(chart.data);
      latest(before.plot);
    }
    before.stamp = chart.stamp;
    return;
  }
  before?.plot.destroy();
  const plot = new uPlot(options(element, chart), chart.data, element);
  drawn.set(element, { plot, dark: darkness.matches, series: chart.series.join(), stamp: chart.stamp });
  size.observe(element);
}

/** Let the legend tell the latest figures while nobody points at others. */
function latest(plot) {
  if (plot.cursor.idx == null) plot.setLegend({ idx: plot.data[0].length - 1 });
}

/**
 * A chart. data: [times, values of the first series, ...]; shown(value) writes a value;
 * stamp: what is another when data is; summary: what a picture of it tells, in words.
 */
export function chart(facts) {
  const { title, series, data, shown } = facts;
  const newest = data[0].length - 1;
  const every = Math.max(1, Math.ceil(data[0].length / 12));
  const rows = data[0].map((_, at) => at).filter((at) => (newest - at) % every === 0).reverse();
  const said = (values, at) => (values[at] == null ? "–" : shown(values[at]));
  const summary = newest < 0 ? "nothing yet"
    : series.map((name, at) => `${name} ${said(data[at + 1], newest)}`).join(", ");
  return html`<figure class="chart">
    <figcaption>${title}</figcaption>
    <div class="plot" role="img" aria-label=${`${title}; the latest: ${summary}`}
      ${ref((element) => element && newest >= 0 && requestAnimationFrame(() => element.isConnected && draw(element, facts)))}></div>
    <details><summary>As a table</summary>
      <div class="table" role="region" tabindex="0" aria-label=${`${title}, as a table`}><table>
        <caption>${title}</caption>
        <thead><tr><th scope="col" class="text">Time</th>${series.map((name) => html`<th scope="col">${name}</th>`)}</tr></thead>
        <tbody>${rows.map((at) => html`<tr><th scope="row">${new Date(data[0][at] * 1000).toLocaleTimeString()}</th>
          ${data.slice(1).map((values) => html`<td>${said(values, at)}</td>`)}</tr>`)}</tbody>
      </table></div>
    </details>
  </figure>`;
}
