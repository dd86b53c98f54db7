// anywidget gives up a widget whose script takes longer than two seconds to load, as on a busy computer: it still shows the
// widget, but drops all messages of the kernel. Then they are handled here, and `again` asks for what was dropped.
const stayLive = async (model, again) => {
  let whole;
  try {
    whole = await model.widget_manager.get_model(model.get("own_id"));
    await whole._handle_comm_msg({ content: { data: { method: "custom", content: {} } }, buffers: [] });
  } catch {
    const handle = whole?.comm && Object.getPrototypeOf(whole.constructor.prototype)._handle_comm_msg;
    if (!handle) return; // no kernel, or a front end with widgets of its own, such as marimo
    whole.comm.on_msg((message) => handle.call(whole, message));
    again(whole.comm);
  }
};
