// node zarrita.mjs GROUP ARRAY…: the sha256 of each array's values, as zarrita (zarr.js) reads them.
import { createHash } from "node:crypto";

// node has float16 since 24.
globalThis.Float16Array ??= (await import("@petamoriken/float16")).Float16Array;
const { default: FileSystemStore } = await import("@zarrita/storage/fs");
const zarr = await import("zarrita");

const [group, ...names] = process.argv.slice(2);
const root = zarr.root(new FileSystemStore(group));
for (const name of names) {
  const { data } = await zarr.get(await zarr.open.v3(root.resolve(name), { kind: "array" }));
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  console.log(createHash("sha256").update(bytes).digest("hex"));
}
