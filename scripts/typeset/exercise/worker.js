// Inside the worker: Python, and one topic's tests. What it is given comes by message; it asks the network for nothing.
"use strict";
const MEMORY = 1 << 30;                                        // bytes that Python may take in all
const LOCK = '{"info":{"arch":"wasm32","platform":"emscripten_3_1_45","version":"0.24.1","python":"3.11.3"},"packages":{}}';
const tell = (kind, what) => self.postMessage({ kind, what });

// Some servers have decompressed a .gz file by the time it arrives.
async function unzipped(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// A larger memory is refused as a small machine would: Python raises MemoryError.
const grow = WebAssembly.Memory.prototype.grow;
WebAssembly.Memory.prototype.grow = function (pages) {
  if (this.buffer.byteLength + pages * 65536 > MEMORY) throw new RangeError("the page's limit of memory");
  return grow.call(this, pages);
};

async function start({ parts, archive }) {
  tell("stage", "unpacking");
  const [core, wasm, stdlib, site] = await Promise.all(
    ["core.js", "python.wasm", "stdlib.zip", "site.tar"].map((name) => unzipped(parts[name + ".gz"])));
  const files = { "pyodide.asm.wasm": [wasm, "application/wasm"], "python_stdlib.zip": [stdlib, "application/zip"],
                  "pyodide-lock.json": [LOCK, "application/json"] };
  self.fetch = async (address) => {
    const file = files[String(address).split("/").pop()];
    if (!file) throw new Error("no network here: " + address);
    return new Response(file[0], { headers: { "Content-Type": file[1] } });
  };
  (0, eval)(new TextDecoder().decode(core));
  tell("stage", "starting Python");
  const python = await self.loadPyodide({ indexURL: "http://page.invalid/", stdout: () => {}, stderr: () => {} });
  tell("stage", "starting NumPy and pytest");
  python.unpackArchive(site, "tar", { extractDir: "/" });
  python.FS.mkdir("/book");
  python.unpackArchive(archive, "gztar", { extractDir: "/book" });
  python.globals.set("tell_page", (text) => tell("entry", JSON.parse(text)));
  python.runPython(`
import json, sys
sys.path[:0] = ["/book"]
sys.path.append("/lib/python3.11/site-packages")
sys.dont_write_bytecode = True
from scripts.grading import in_page
tell_entry = lambda what: tell_page(json.dumps(what))`);
  return python;
}

let ready = null;
self.onmessage = async ({ data }) => {
  try {
    if (data.start) {
      ready = start(data.start);
      await ready;
      tell("ready", null);
    } else {
      const python = await ready;
      python.globals.set("given", data.run === undefined ? JSON.stringify(data.unfinished) : data.run);
      const code = data.run === undefined ? "in_page.unfinished(json.loads(given))" : "in_page.run(given, tell_entry)";
      tell("report", JSON.parse(python.runPython(`json.dumps(${code})`)));
    }
  } catch (error) {
    tell("error", String(error && error.message || error).trim().split("\n").slice(-6).join("\n"));
  }
};
