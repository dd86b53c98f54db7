// What the form's own widgets do not do: messages beside fields, keys, and one press for one intent.

// Messages beside the fields, tied to them for screen readers; and what opened and closed is said the same way.
const annotate = (root, faults) => {
  for (const old of root.querySelectorAll(".oxv-fault")) if (!faults[old.dataset.field]) clearFault(old);
  for (const [name, [text, tone]] of Object.entries(faults)) {
    const field = root.querySelector(`.oxv-form .${CSS.escape(name)}`);
    if (!field) continue;
    let line = field.querySelector(":scope > .oxv-fault");
    if (!line) field.append((line = h("div", { class: "oxv-fault", id: `${name}-${Math.random()}`, "data-field": name })));
    setText(line, text);
    line.dataset.tone = tone;
    const input = field.querySelector("textarea, input:not([type=file]), select, button");
    input?.setAttribute("aria-describedby", line.id);
    input?.setAttribute("aria-invalid", String(tone === "fault"));
  }
  for (const one of root.querySelectorAll(".oxv-form .widget-toggle-button")) one.setAttribute("aria-pressed", String(one.classList.contains("mod-active")));
  for (const handle of root.querySelectorAll(".oxv-form .noUi-handle")) handle.setAttribute("aria-label", handle.closest(".oxv-field").querySelector("label").textContent);
  const opened = { ".oxv-model": !root.querySelector(".oxv-picker.oxv-hidden"), ".oxv-more": Boolean(root.querySelector(".oxv-more.oxv-opened")) };
  for (const [selector, open] of Object.entries(opened)) root.querySelector(selector)?.setAttribute("aria-expanded", String(open));
};

const clearFault = (line) => {
  const input = line.parentElement?.querySelector(`[aria-describedby="${line.id}"]`);
  input?.removeAttribute("aria-describedby");
  input?.removeAttribute("aria-invalid");
  line.remove();
};

// What the form's own widgets do not do: found once the board stands in its panel.
const attend = (model, link, el) => {
  const root = el.closest(".oxv-panel");
  if (!root) return () => {};
  let due = false;
  const soon = () => {
    if (!due) requestAnimationFrame(() => { due = false; annotate(root, model.get("faults")); });
    due = true;
  };
  const form = root.querySelector(".oxv-form");
  const watcher = new MutationObserver(soon);
  watcher.observe(form, { childList: true, subtree: true, attributes: true, attributeFilter: ["class"] });
  const acted = (event) => form.contains(event.target) && link.ping();
  const picked = (event) => {
    const chosen = event.target.closest(".oxv-models select") && (event.type === "click" || event.key === "Enter");
    if (!chosen && !(event.key === "Escape" && event.target.closest(".oxv-picker"))) return;
    // The line itself, as the list that was clicked may be another by the time the kernel hears of its index.
    const line = chosen ? event.target.closest("select").selectedOptions[0]?.textContent.replaceAll("\u00a0", " ") : "";
    model.send({ do: "picked", line });
    root.querySelector(".oxv-model").focus();
  };
  // Plain keys are the panel's, for its buttons and lists; those with Ctrl stay the notebook's.
  const keys = (event) => root.contains(event.target) &&
    root.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.metaKey || event.altKey));
  // A second click on Generate must not even leave the browser: while a cell runs, clicks queue up in the kernel.
  const pressed = (event) => {
    const generate = event.target.closest(".oxv-generate");
    if (!generate) return;
    if (generate.dataset.pressed) return void (event.stopImmediatePropagation(), event.preventDefault());
    generate.dataset.pressed = "1";
    link.ping();
    link.after(() => setTimeout(() => delete generate.dataset.pressed, 300));
  };
  root.addEventListener("click", pressed, true);
  window.addEventListener("keydown", keys, true);
  const heard = { click: [acted, picked], input: [acted], keydown: [picked] };
  for (const [type, all] of Object.entries(heard)) all.forEach((one) => root.addEventListener(type, one));
  model.on("change:faults", soon);
  soon();
  return () => {
    watcher.disconnect();
    root.removeEventListener("click", pressed, true);
    window.removeEventListener("keydown", keys, true);
    for (const [type, all] of Object.entries(heard)) all.forEach((one) => root.removeEventListener(type, one));
    model.off("change:faults", soon);
  };
};

const focusField = (element, field) =>
  element.closest(".oxv-panel")
    ?.querySelector(`.oxv-form .${CSS.escape(field)} :is(textarea, input:not([hidden]), select, button)`)?.focus();
