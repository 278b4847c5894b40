// Clients and services of WebSockets, gRPC and events that others wrote, with the gateway between them.
//
// Starts the services and prints where they are, reads where the gateway is, and drives it. What does not
// hold ends it with an error.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const [modules, chromium] = process.argv.slice(2);
const require = createRequire(join(modules, "here.js"));
const { WebSocket, WebSocketServer } = require("ws");
const grpc = require("@grpc/grpc-js");

// The service of HTTP/1.1: a page, events, and a socket that sends back what it gets.
const PAGE = `<!doctype html><title>page</title><script type="module">
  const events = await new Promise((done, failed) => {
    const seen = [];
    const source = new EventSource("/web/events");
    source.onerror = failed;
    source.onmessage = (event) => {
      seen.push(event.data);
      if (seen.length === 3) { source.close(); done(seen); }
      else fetch("/web/seen", { method: "POST" });
    };
  });
  const echoed = await new Promise((done, failed) => {
    const socket = new WebSocket(location.origin.replace("http", "ws") + "/web/socket", "chat");
    socket.onerror = failed;
    socket.onopen = () => socket.send("x".repeat(100_000));
    socket.onmessage = (event) => { socket.close(); done([event.data.length, socket.protocol]); };
  });
  const protocol = performance.getEntriesByType("navigation")[0].nextHopProtocol;
  await fetch("/web/done", { method: "POST", body: JSON.stringify({ events, echoed, protocol }) });
</script>`;

let told;
let wasSeen = () => {};
const web = createServer(async (request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
    // Each after the page has had the one before it.
    for (const number of [1, 2, 3]) {
      const seen = new Promise((next) => (wasSeen = next));
      response.write(`data: ${number}\n\n`);
      await Promise.race([seen, once(response, "close")]);
    }
  } else if (request.url === "/seen") {
    response.end();
    wasSeen();
  } else if (request.url === "/done") {
    let body = "";
    for await (const part of request) body += part;
    response.end();
    told(JSON.parse(body));
  } else {
    response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
  }
});
new WebSocketServer({ server: web, perMessageDeflate: true, handleProtocols: () => "chat" }).on(
  "connection",
  (socket, request) => {
    assert.equal(request.headers.upgrade, "websocket");
    socket.on("message", (data, binary) => socket.send(data, { binary }));
  },
);
web.listen(0, "127.0.0.1");
await once(web, "listening");

// The service of gRPC, with calls of all four kinds.
const bytes = (text) => Buffer.from(text);
const kind = (name, requestStream, responseStream) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  requestSerialize: bytes,
  requestDeserialize: String,
  responseSerialize: bytes,
  responseDeserialize: String,
});
const definition = {
  Unary: kind("Unary", false, false),
  Fails: kind("Fails", false, false),
  Never: kind("Never", false, false),
  Down: kind("Down", false, true),
  Up: kind("Up", true, false),
  Both: kind("Both", true, true),
};
const calls = new grpc.Server();
calls.addService(definition, {
  Unary: (call, done) => done(null, call.request, call.metadata),
  Fails: (call, done) => {
    const behind = new grpc.Metadata();
    behind.set("x-why-bin", bytes("because"));
    done({ code: grpc.status.FAILED_PRECONDITION, details: "not now", metadata: behind });
  },
  Never: () => {},
  Down: (call) => {
    for (let number = 0; number < 1000; number++) call.write(`${call.request} ${number}`);
    call.end();
  },
  Up: (call, done) => {
    let length = 0;
    call.on("data", (part) => (length += part.length));
    call.on("end", () => done(null, String(length)));
  },
  Both: (call) => {
    call.on("data", (part) => call.write(part));
    call.on("end", () => call.end());
  },
});
const port = await new Promise((done, failed) =>
  calls.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, bound) =>
    error ? failed(error) : done(bound),
  ),
);

console.log(JSON.stringify({ web: web.address().port, calls: port }));
const [line] = await once(createInterface(process.stdin), "line");
const { clear, secure, token } = JSON.parse(line);

// WebSockets of `ws`.
const socket = new WebSocket(`ws://${clear}/web/socket`, "chat");
await once(socket, "open");
for (const data of ["text", "x".repeat(1_000_000), Buffer.alloc(70_000, 7)]) {
  socket.send(data);
  const [came, binary] = await once(socket, "message");
  assert.equal(binary, typeof data !== "string");
  assert.deepEqual(came, Buffer.from(data));
}
socket.ping();
await once(socket, "pong");
socket.close(4000, "enough");
const [code] = await once(socket, "close");
assert.equal(code, 4000);
const refused = new WebSocket(`ws://${clear}/none/socket`);
const [error] = await once(refused, "error");
assert.match(error.message, /501/);

// gRPC of `@grpc/grpc-js`.
const client = new grpc.Client(clear, grpc.credentials.createInsecure());
const unary = (name, text, metadata = new grpc.Metadata(), options = {}) =>
  new Promise((done, failed) => {
    const { path } = definition[name];
    client.makeUnaryRequest(path, bytes, String, text, metadata, options, (refused, came) =>
      refused ? failed(refused) : done(came),
    );
  });
const held = new grpc.Metadata();
held.set("authorization", `Bearer ${token}`);
await assert.rejects(unary("Unary", "nobody"), { code: grpc.status.UNAUTHENTICATED });
assert.equal(await unary("Unary", "hello", held), "hello");
await assert.rejects(unary("Fails", "x", held), (refused) => {
  assert.equal(refused.code, grpc.status.FAILED_PRECONDITION);
  assert.equal(refused.details, "not now");
  assert.equal(String(refused.metadata.get("x-why-bin")[0]), "because");
  return true;
});
await assert.rejects(unary("Never", "x", held, { deadline: Date.now() + 300 }), {
  code: grpc.status.DEADLINE_EXCEEDED,
});
const down = client.makeServerStreamRequest(definition.Down.path, bytes, String, "n", held);
let parts = 0;
for await (const part of down) assert.equal(part, `n ${parts++}`);
assert.equal(parts, 1000);
const length = await new Promise((done, failed) => {
  const { path } = definition.Up;
  const up = client.makeClientStreamRequest(path, bytes, String, held, (refused, came) =>
    refused ? failed(refused) : done(came),
  );
  for (let number = 0; number < 500; number++) up.write("x".repeat(10_000));
  up.end();
});
assert.equal(length, "5000000");
const both = client.makeBidiStreamRequest(definition.Both.path, bytes, String, held);
for (let number = 0; number < 50; number++) {
  both.write(`turn ${number}`);
  const [came] = await once(both, "data");
  assert.equal(came, `turn ${number}`);
}
both.end();
const [status] = await once(both.resume(), "status");
assert.equal(status.code, grpc.status.OK);
const all = await Promise.all(Array.from({ length: 300 }, (_, at) => unary("Unary", `${at}`, held)));
assert.deepEqual(all, Array.from({ length: 300 }, (_, at) => `${at}`));
client.close();

// Events and WebSockets of a browser, over both versions.
for (const [url, protocol] of [
  [`http://${clear}/web/page`, "http/1.1"],
  [`https://${secure}/web/page`, "h2"],
]) {
  const profile = mkdtempSync(join(tmpdir(), "tegata-chromium-"));
  const browser = spawn(
    chromium,
    [
      "--headless=new",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      "--no-first-run",
      "--ignore-certificate-errors",
      `--user-data-dir=${profile}`,
      url,
    ],
    { stdio: "ignore", detached: true },
  );
  const seen = await new Promise((done) => (told = done));
  process.kill(-browser.pid, "SIGKILL");
  await once(browser, "exit");
  rmSync(profile, { recursive: true, force: true, maxRetries: 20 });
  assert.equal(seen.protocol, protocol);
  assert.deepEqual(seen.echoed, [100_000, "chat"]);
  assert.deepEqual(seen.events, ["1", "2", "3"]);
}
process.exit(0);
