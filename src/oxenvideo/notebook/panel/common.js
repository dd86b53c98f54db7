// Shared by the panel's widgets: elements without HTML strings, so that nobody's text is ever read as markup.

const h = (tag, props = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

const button = (label, onclick, props = {}) => h("button", { type: "button", class: "oxv-btn", onclick, ...props }, label);

const setText = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const show = (element, when) => {
  element.hidden = !when;
};

const seconds = (value) => {
  const whole = Math.max(0, Math.round(value));
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
};

const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

// Make the children of `place` those for `rows`, in this order, by key; what stays is not touched, so focus stays too.
const arrange = (place, kept, rows, keyOf, make, update) => {
  const wanted = new Set(rows.map(keyOf));
  for (const [key, item] of kept) {
    if (!wanted.has(key)) {
      item.element.remove();
      kept.delete(key);
    }
  }
  let before = place.firstElementChild;
  for (const row of rows) {
    const key = keyOf(row);
    let item = kept.get(key);
    if (!item) kept.set(key, (item = make(row)));
    if (item.row !== row) update(item, row);
    item.row = row;
    if (item.element === before) before = before.nextElementSibling;
    else place.insertBefore(item.element, before);
  }
};
