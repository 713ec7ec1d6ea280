// What an application does with ioredis and node-redis, through sidewire: battery.mjs standalone|cluster HOST PORT
import assert from 'node:assert/strict'
import Redis from 'ioredis'
import { createClient, createCluster } from 'redis'

const [face, host, port] = process.argv.slice(2)
const want = (what, got, expected) => assert.deepEqual(got, expected, what)

const c = face === 'cluster' ? new Redis.Cluster([{ host, port: +port }]) : new Redis({ host, port: +port })
await c.flushall()
for (let i = 0; i < 50; i++) await c.set(`k${i}`, i)
want('GET', await c.get('k7'), '7')
if (face === 'standalone') want('MGET', await c.mget([...Array(50).keys()].map(i => `k${i}`)), [...Array(50).keys()].map(String))
want('INCR', await Promise.all([...Array(50).keys()].map(i => c.incr(`k${i}`))), [...Array(50).keys()].map(i => i + 1))
want('EVAL', await c.eval("return redis.call('GET', KEYS[1])", 1, 'k1'), '2')
want('MULTI', (await c.multi().set('{t}a', 1).get('{t}a').exec()).map(r => r[1]), ['OK', '1'])
await c.rpush('queue', 'job')
want('BLPOP', await c.blpop('queue', 5), ['queue', 'job'])
await c.xadd('stream', '*', 'f', 'v')
want('XREAD', (await c.xread('COUNT', 1, 'STREAMS', 'stream', '0'))[0][1][0][1], ['f', 'v'])
const large = 'x'.repeat(3 << 20)
await c.set('large', large)
assert.equal(await c.get('large') === large, true)
const sub = face === 'cluster' ? new Redis.Cluster([{ host, port: +port }]) : c.duplicate()
const heard = new Promise(done => sub.on('message', (channel, text) => done([channel, text])))
await sub.subscribe('news')
await c.publish('news', 'hello')
want('a message', await heard, ['news', 'hello'])
sub.disconnect(); c.disconnect()
console.log(`ioredis, ${face}: passed`)

for (const RESP of [2, 3]) {
  const url = `redis://${host}:${port}`
  const n = face === 'cluster' ? createCluster({ rootNodes: [{ url }], RESP }) : createClient({ url, RESP })
  n.on('error', e => { throw e })
  await n.connect()
  await n.set('a', '1')
  want('GET', await n.get('a'), '1')
  await n.hSet('h', { x: '1', y: '2' })
  want('HGETALL', { ...(await n.hGetAll('h')) }, { x: '1', y: '2' })
  want('MULTI', await n.multi().incr('a').get('a').exec(), [2, '2'])
  want('pipelined', await Promise.all([...Array(200).keys()].map(i => n.set(`p${i}`, `${i}`).then(() => n.get(`p${i}`)))), [...Array(200).keys()].map(String))
  n.destroy()
  console.log(`node-redis, RESP${RESP}, ${face}: passed`)
}
