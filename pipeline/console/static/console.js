// Keeps the parts of a page that are live up to date. Without it pages reload themselves.
"use strict";

const said = document.getElementById("live-state");

for (const part of document.querySelectorAll("[data-live]")) {
  const source = new EventSource(part.dataset.live);
  source.addEventListener("part", (event) => replace(part, JSON.parse(event.data)));
  source.addEventListener("end", () => source.close());
  source.addEventListener("open", () => { said.textContent = ""; });
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) said.textContent = "Not live: the console does not answer.";
  });
}

// The server escaped everything in the part. What is opened, scrolled and focused stays so.
function replace(part, html) {
  if (part.contains(document.getSelection().anchorNode) && !document.getSelection().isCollapsed) return;
  const regions = () => [...part.querySelectorAll("[tabindex='0'], details, a")];
  const before = regions();
  const focused = before.indexOf(document.activeElement);
  const kept = before.map((each) => [each.scrollLeft, each.open]);
  part.innerHTML = html;
  regions().forEach((each, index) => {
    if (!kept[index]) return;
    each.scrollLeft = kept[index][0];
    if (each.tagName === "DETAILS" && kept[index][1]) each.open = true;
  });
  if (focused >= 0) regions()[focused]?.focus({ preventScroll: true });
}
