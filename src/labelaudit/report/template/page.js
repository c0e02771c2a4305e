"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  document.documentElement.classList.add("js");

  // Tables: a click on a header sorts by it, largest number or first name first. A second click reverses the order.
  const compare = (a, b) => a < b ? -1 : a > b ? 1 : 0;
  const valueOf = (cell) => cell.dataset.value === undefined
    ? cell.textContent.trim().toLowerCase() : Number(cell.dataset.value);
  const sortBy = (table, column) => {
    const header = table.tHead.rows[0].cells[column];
    const numeric = header.classList.contains("number");
    const now = header.getAttribute("aria-sort");
    const descending = now ? now === "ascending" : numeric;
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort((a, b) => descending ? compare(b[0], a[0]) : compare(a[0], b[0]));
    table.tBodies[0].append(...rows.map((pair) => pair[1]));
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => sortBy(table, column));
    });
  }

  const list = $("cards");
  if (!list) return;

  // Gallery: filter, sort, pages of cards, moving by keys, enlarging.
  const PAGE = 24;
  const cards = [...list.children];
  let limit = PAGE;
  let matching = cards;
  const given = $("filter-given"), suggested = $("filter-suggested"), order = $("sort");
  const orders = {
    rank: (a, b) => a.dataset.rank - b.dataset.rank,
    confident: (a, b) => b.dataset.confident - a.dataset.confident || orders.rank(a, b),
    given: (a, b) => a.dataset.given - b.dataset.given || orders.rank(a, b),
    suggested: (a, b) => a.dataset.suggested - b.dataset.suggested || orders.rank(a, b),
    fold: (a, b) => a.dataset.fold - b.dataset.fold || orders.rank(a, b),
  };
  const show = () => {
    matching = cards.filter((card) =>
      (!given.value || card.dataset.given === given.value) &&
      (!suggested.value || card.dataset.suggested === suggested.value));
    matching.sort(orders[order.value]);
    for (const card of cards) card.hidden = true;
    list.append(...matching);
    matching.forEach((card, place) => { card.hidden = place >= limit; });
    const visible = Math.min(limit, matching.length);
    $("shown").textContent = matching.length ? `${visible} of ${matching.length} shown` : "no matching example";
    $("more").parentElement.hidden = visible >= matching.length;
  };
  const restart = () => { limit = PAGE; show(); };
  for (const control of [given, suggested, order]) control.addEventListener("change", restart);
  $("more").addEventListener("click", () => { limit += PAGE; show(); });
  $("all").addEventListener("click", () => { limit = cards.length; show(); });
  document.querySelector(".toolbar").hidden = false;
  // A click on a count of the confusion table shows its examples.
  const choose = (select, label) => {
    select.value = [...select.options].find((option) => option.dataset.label === label).value;
  };
  for (const link of document.querySelectorAll("a[data-given]")) {
    link.addEventListener("click", () => {
      choose(given, link.dataset.given);
      choose(suggested, link.dataset.suggested);
      restart();
    });
  }

  // A click on a new issue shows its card.
  for (const link of document.querySelectorAll('a[href^="#example-"]')) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      given.value = suggested.value = "";
      show();
      const card = $(link.hash.slice(1));
      reveal(card);
      focus(card);
    });
  }

  const viewer = $("viewer");
  let current = null;
  const reveal = (card) => {
    const place = matching.indexOf(card);
    if (place >= limit) { limit = place + PAGE; show(); }
  };
  const enlarge = (card) => {
    current = card;
    const copy = card.cloneNode(true);
    copy.removeAttribute("tabindex");
    copy.querySelector(".open").remove();
    const body = document.createElement("div");
    body.className = copy.className;
    body.append(...copy.childNodes);
    $("viewer-body").replaceChildren(body);
    $("viewer-body").className = list.className.replace("cards", "enlarged");
    $("viewer-place").textContent = `${matching.indexOf(card) + 1} of ${matching.length}`;
    if (viewer.open) return;
    viewer.showModal();
    // A second Enter then closes the dialog.
    viewer.querySelector("[data-step='0']").focus();
  };
  const step = (from, distance) => {
    const place = Math.max(0, Math.min(matching.length - 1, matching.indexOf(from) + distance));
    reveal(matching[place]);
    return matching[place];
  };
  const focus = (card) => { card.querySelector(".open").focus(); card.scrollIntoView({ block: "nearest" }); };
  // Cards per line, for the up and down keys.
  const columns = () => {
    const shown = matching.filter((card) => !card.hidden);
    const second = shown.findIndex((card) => card.offsetTop > shown[0].offsetTop);
    return second < 0 ? shown.length : second;
  };
  const moves = {
    ArrowRight: () => 1, j: () => 1, ArrowLeft: () => -1, k: () => -1,
    ArrowDown: columns, ArrowUp: () => -columns(), Home: () => -cards.length,
  };

  for (const card of cards) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "open";
    button.setAttribute("aria-haspopup", "dialog");
    const labels = card.querySelector(".labels").textContent.replace(/\s+/g, " ").trim();
    button.setAttribute("aria-label", `Enlarge example ${card.dataset.rank}: ${labels}`);
    card.append(button);
    button.addEventListener("click", () => enlarge(card));
  }
  list.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    focus(step(event.target.closest(".card"), move()));
  });
  viewer.addEventListener("keydown", (event) => {
    const distance = { ArrowRight: 1, j: 1, ArrowDown: 1, ArrowLeft: -1, k: -1, ArrowUp: -1 }[event.key];
    if (!distance || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    enlarge(step(current, distance));
  });
  viewer.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (event.target === viewer || (button && button.dataset.step === "0")) viewer.close();
    else if (button) enlarge(step(current, Number(button.dataset.step)));
  });
  viewer.addEventListener("close", () => { if (current) focus(current); });
  // j and k also work before any card has the focus.
  document.addEventListener("keydown", (event) => {
    if (!"jk".includes(event.key) || event.target !== document.body || viewer.open || !matching.length) return;
    focus(matching[0]);
  });
  show();
})();
