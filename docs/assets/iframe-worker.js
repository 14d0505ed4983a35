/* Of a page that is opened from the disk browsers start no workers. The search has one: here it runs in a frame. */
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      const frame = document.createElement("iframe");
      frame.hidden = true;
      document.body.append(frame);
      const inner = frame.contentWindow;
      inner.postMessage = (data) => this.onmessage?.({ data: structuredClone(data) });
      const script = inner.document.createElement("script");
      script.src = address;
      const started = new Promise((done) => (script.onload = done));
      script.onerror = (event) => this.onerror?.(event);
      inner.document.body.append(script);
      this.postMessage = (data) => started.then(() => inner.onmessage?.({ data: structuredClone(data) }));
      this.terminate = () => frame.remove();
    }
  };
}
