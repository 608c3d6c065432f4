// What speedscope makes of a file, by its own importers, as JSON: speedscope.js DIRECTORY FILE. It is an application
// for browsers in one script, which is run up to where it would draw something.
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [directory, file] = process.argv.slice(2);
const release = path.join(directory, "node_modules", "speedscope", "dist", "release");
const script = fs.readdirSync(release).find((name) => /^speedscope-.*\.js$/.test(name));
const start = "console.log(`speedscope v";
const source = fs.readFileSync(path.join(release, script), "utf8");
const importer = /await (\w+)\(\w+,await \w+\.arrayBuffer\(\)\)/.exec(source);
if (importer === null || !source.includes(start)) throw new Error(`${script} is not the speedscope that this knows`);

const browser = new Proxy(function () {}, {
  get: (_, name) => (name === Symbol.toPrimitive ? () => "" : browser),
  apply: () => browser,
  construct: () => browser,
});
Object.assign(globalThis, { window: globalThis, document: browser, localStorage: browser, matchMedia: () => browser });
globalThis.location = { hash: "", href: "file:///", protocol: "file:" };
console.log = () => {};
vm.runInThisContext(source.replace(start, `globalThis.importProfile = ${importer[1]}; return; ${start}`));

const content = fs.readFileSync(file);
const buffer = content.buffer.slice(content.byteOffset, content.byteOffset + content.length);
globalThis.importProfile(path.basename(file), buffer).then((group) => {
  const profiles = group.profiles.map((profile) => {
    const stacks = [];
    const open = [];
    profile.forEachCall(
      (node, value) => {
        open.push({ frame: node.frame, begin: value, inner: 0 });
      },
      (_, value) => {
        const { begin, inner } = open[open.length - 1];
        const own = value - begin - inner;
        if (own > 0) stacks.push([open.map(({ frame }) => [frame.name, frame.file || ""]), own]);
        open.pop();
        if (open.length > 0) open[open.length - 1].inner += value - begin;
      },
    );
    return { name: profile.getName(), unit: profile.getWeightUnit(), total: profile.getTotalWeight(), stacks };
  });
  process.stdout.write(JSON.stringify(profiles));
});
