// dynalite on a port of this machine, which can be told to throttle, and counts what it is asked.
//
// node serve.js MODULES PORT

const [modules, port] = process.argv.slice(2)
const server = require(`${modules}/dynalite`)({ createTableMs: 0, deleteTableMs: 0 })
const [answer] = server.listeners('request')
server.removeAllListeners('request')

let throttles = false
const calls = {}

server.on('request', (request, response) => {
  switch (request.url) {
    case '/-/calls': return response.end(JSON.stringify(calls))
    case '/-/throttle': throttles = true; return response.end()
    case '/-/serve': throttles = false; return response.end()
  }
  const operation = String(request.headers['x-amz-target']).split('.').pop()
  calls[operation] = (calls[operation] ?? 0) + 1
  if (!throttles) return answer.call(server, request, response)
  const type = 'com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException'
  request.resume()
  response.writeHead(400, { 'content-type': 'application/x-amz-json-1.0' })
  response.end(JSON.stringify({ __type: type, message: 'The level of throughput was exceeded' }))
})
server.listen(Number(port), '127.0.0.1')
