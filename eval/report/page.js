"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  document.querySelector(".tools").hidden = false;

  // A theme lasts as long as the page: nothing is stored.
  const theme = document.getElementById("theme");
  const dark = () =>
    root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
  const named = () => { theme.textContent = dark() ? "Light page" : "Dark page"; };
  theme.addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    named();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", named);
  named();

  // "−0.123", "1,234", "1.2e+9", "< 0.001", "63.4 (60 to 65)", "–": numbers first, gaps last.
  const number = (text) => {
    const found = text.replace(/−/g, "-").replace(/,/g, "").match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/i);
    return found ? Number(found[0]) : null;
  };
  const text = (row, column) => {
    const cell = row.cells[column];
    return cell ? cell.textContent.trim() : "";
  };
  // A row and what unfolds under it move together.
  const bundles = (body) => {
    const found = [];
    for (const row of all(":scope > tr", body)) {
      if (row.classList.contains("more") && found.length) found.at(-1).push(row);
      else found.push([row]);
    }
    return found;
  };
  const compare = (a, b, column, numeric) => {
    if (!numeric) return text(a[0], column).localeCompare(text(b[0], column), "en", { numeric: true });
    return number(text(a[0], column)) - number(text(b[0], column));
  };
  for (const table of all("table.data")) {
    const body = table.tBodies[0];
    const original = bundles(body);
    if (original.length < 2) continue;
    const heads = all("thead tr:last-child th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" };
        const order = next[head.getAttribute("aria-sort")];
        for (const other of heads) other.setAttribute("aria-sort", "none");
        head.setAttribute("aria-sort", order);
        const numeric = head.classList.contains("n");
        const sign = order === "descending" ? -1 : 1;
        const gap = (bundle) => numeric && number(text(bundle[0], column)) === null;
        const sorted = order === "none" ? original : [...original].sort((a, b) => {
          if (gap(a) || gap(b)) return gap(a) - gap(b);
          return sign * compare(a, b, column, numeric);
        });
        body.append(...sorted.flat());
      });
    });
  }

  // The filter looks at every table at once; a table left without a row is hidden with its heading.
  const filter = document.getElementById("filter");
  const told = document.getElementById("found");
  const apply = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let rows = 0;
    let shown = 0;
    for (const table of all("table.data")) {
      if (table.parentElement.closest("table.data")) continue;
      for (const bundle of bundles(table.tBodies[0])) {
        const own = bundle.map((row) => row.textContent.toLowerCase()).join(" ");
        const keep = words.every((word) => own.includes(word));
        for (const row of bundle) row.hidden = !keep;
        rows += 1;
        shown += keep ? 1 : 0;
      }
    }
    told.textContent = words.length ? `${shown} of ${rows} rows` : "";
  };
  filter.addEventListener("input", apply);
  filter.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    filter.value = "";
    apply();
  });
  apply();

  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const open = unfold.getAttribute("aria-pressed") !== "true";
    for (const each of all("details")) each.open = open;
    unfold.setAttribute("aria-pressed", String(open));
    unfold.textContent = open ? "Fold all" : "Unfold all";
  });

  // A number's link leads into a folded table: open what hides the row, then go there.
  const reveal = () => {
    for (const each of all("tr.target")) each.classList.remove("target");
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let at = target.closest("details"); at; at = at.parentElement.closest("details")) at.open = true;
    if (target.tagName !== "TR") return;
    target.hidden = false;
    target.classList.add("target");
    target.tabIndex = -1;
    target.focus({ preventScroll: true });
    target.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", reveal);
  reveal();

  // Paper has no folds.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details:not([open])");
    for (const each of folded) each.open = true;
  });
  addEventListener("afterprint", () => {
    for (const each of folded) each.open = false;
  });

  // Only what scrolls is a stop of the keyboard.
  const stops = () => {
    for (const each of all(".scroll")) {
      if (each.scrollWidth > each.clientWidth) each.tabIndex = 0;
      else each.removeAttribute("tabindex");
    }
  };
  addEventListener("resize", stops);
  addEventListener("toggle", stops, true);
  stops();
})();
