// An HTTP function on the port of its own choice: it does not look at PORT.
const http = require('node:http');

const server = http.createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', () => {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({
      path: request.url,
      method: request.method,
      body: Buffer.concat(parts).toString(),
      node: process.versions.node.split('.')[0],
      release: process.env.RELEASE,
    }));
  });
});
server.listen(8080, () => console.log('listening'));
process.on('SIGTERM', () => server.close(() => process.exit(0)));
