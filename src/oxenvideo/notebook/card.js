// The widget of a card: its HTML, where the front end ignores updates of plain HTML; a Cancel button; a line below.

// A notification where the browser permits it; else a sound, and the tab's title until somebody looks at the page.
const tell = (text) => {
  if (globalThis.Notification?.permission === "granted") return new Notification("oxenvideo", { body: text });
  const title = document.title;
  document.title = `✔ ${text}`;
  for (const event of ["focus", "pointermove", "keydown"]) addEventListener(event, () => { document.title = title; }, { once: true });
  try {
    const audio = new AudioContext(), tone = audio.createOscillator();
    tone.connect(audio.destination);
    tone.start();
    tone.stop(audio.currentTime + 0.2);
  } catch { /* a page without sound */ }
};

export default {
  initialize({ model }) {
    if (model.get("notify") && globalThis.Notification?.permission === "default") Notification.requestPermission();
    model.on("change:told", () => tell(model.get("told")));
    stayLive(model, (comm) => comm.send({ method: "request_state" }));
  },
  render({ model, el }) {
    const card = document.createElement("div"), line = document.createElement("div"), button = document.createElement("button");
    button.className = "oxenvideo-cancel";
    button.style.cssText = "margin:2px 0 6px;padding:3px 11px;border:1px solid #8886;border-radius:6px;background:#8882;color:inherit;font:500 12.5px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);cursor:pointer";
    button.onclick = () => {
      button.disabled = true;
      button.textContent = "Cancelling";
      model.send({ do: "cancel" });
    };
    const draws = {
      html: () => { card.innerHTML = model.get("html"); },
      line: () => { line.innerHTML = model.get("line"); },
      button: () => {
        button.textContent = model.get("button");
        button.title = model.get("hint");
        button.hidden = !model.get("button");
      },
    };
    for (const [name, draw] of Object.entries(draws)) {
      model.on(`change:${name}`, draw);
      draw();
    }
    el.append(card, button, line);
    return () => { for (const [name, draw] of Object.entries(draws)) model.off(`change:${name}`, draw); };
  },
};
