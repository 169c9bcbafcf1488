// Bun's WebSocket server (uWebSockets) with its own publish/subscribe: who sends a text is put into the one room and told
// so; what one sends as bytes all others there get. Usage: bun bun-server.mjs PORT
Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2]),
  fetch: (request, server) => (server.upgrade(request) ? undefined : new Response("ok")),
  websocket: {
    perMessageDeflate: false,
    message: (socket, message) => {
      if (typeof message === "string") {
        socket.subscribe("room");
        socket.send("subscribed");
      } else {
        socket.publish("room", message);
      }
    },
  },
});
