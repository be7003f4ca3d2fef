// SPDX-License-Identifier: Apache-2.0
// Search runs in a worker, and browsers start none for a page that is read from a file: there it runs in a hidden frame.
if (location.protocol === "file:")
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      this.inside = frame.contentWindow
      const page = this.inside.document
      page.open()
      page.write("<!doctype html><title>search</title><body></body>")
      page.close()
      this.inside.postMessage = data => this.dispatchEvent(new MessageEvent("message", {data}))
      // It is asked to wait only for what search in other languages needs.
      this.inside.importScripts = () => {}
      const script = page.createElement("script")
      script.src = url
      this.ready = new Promise(ready => { script.onload = ready })
      page.body.append(script)
    }

    postMessage(data) {
      this.ready.then(() => this.inside.dispatchEvent(new MessageEvent("message", {data})))
    }
  }
