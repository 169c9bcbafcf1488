// Bun's WebSocket server (uWebSockets) with its own publish/subscribe: everybody is in one room, and what one sends all
// others get. Usage: bun bun-server.mjs PORT
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("ok")),
  websocket: {
    perMessageDeflate: false,
    open: (socket) => socket.subscribe("room"),
    message: (socket, message) => socket.publish("room", message),
  },
});
