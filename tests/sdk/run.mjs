// Drives one unmodified official SDK against the server that DAYTONA_API_URL and DAYTONA_API_KEY name.
// usage: node run.mjs SDK-VERSION ISOLATION; prints a line for each step, `passed` or `FAILED` first.
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import http from 'node:http'
import { writeSync } from 'node:fs'

const [version, isolation] = process.argv.slice(2)
const { Daytona } = await import(`sdk-${version}`)
const daytona = new Daytona({ apiUrl: process.env.DAYTONA_API_URL, apiKey: process.env.DAYTONA_API_KEY })

// Written at once: nothing may be lost when the process leaves.
const say = (line) => writeSync(1, `${line}\n`)
async function step(what, act) {
  const begin = performance.now()
  const name = `TypeScript ${version}, ${isolation}: ${what}`
  try {
    await act()
    say(`passed  ${name} (${Math.round(performance.now() - begin)} ms)`)
  } catch (error) {
    say(`FAILED  ${name}: ${String(error?.stack ?? error).split('\n').slice(0, 4).join(' ')}`)
  }
}

// The name of a link is below .localhost, which not every resolver knows to be this machine.
const open = (url, headers) => new Promise((resolve, reject) => {
  const lookup = (_, options, done) =>
    options.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4)
  http.get(url, { headers, lookup, agent: false }, async (answer) => {
    let text = ''
    for await (const part of answer) text += part
    resolve({ status: answer.statusCode, text })
  }).on('error', reject)
})

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')
const bytes = randomBytes(3_000_001)
let sandbox

await step('create', async () => {
  sandbox = await daytona.create({ labels: { sdk: version }, envVars: { GREETING: 'hallo' } })
  assert.equal(sandbox.state, 'started')
})
if (!sandbox) process.exit(1)

await step('get and list', async () => {
  assert.equal((await daytona.get(sandbox.id)).id, sandbox.id)
  // What `list` takes and answers changed between the two.
  const listed = await daytona.list(version < '0.200' ? { sdk: version } : { labels: { sdk: version } })
  const ids = []
  if (listed[Symbol.asyncIterator]) for await (const item of listed) ids.push(item.id)
  else ids.push(...listed.items.map((item) => item.id))
  assert.ok(ids.includes(sandbox.id))
})

await step('execute with output, variable, directory and exit code', async () => {
  const ran = await sandbox.process.executeCommand('echo $GREETING $MORE; pwd; exit 3', '/tmp', { MORE: 'more' })
  assert.deepEqual([ran.result.trim().split('\n'), ran.exitCode], [['hallo more', '/tmp'], 3])
})

await step('upload 3 MB, checked inside', async () => {
  await sandbox.fs.uploadFile(bytes, 'up.bin')
  const ran = await sandbox.process.executeCommand('sha256sum up.bin')
  assert.equal(ran.result.split(' ')[0], sha256(bytes))
})

await step('download 3 MB, every byte', async () => {
  assert.ok(bytes.equals(await sandbox.fs.downloadFile('up.bin')))
})

await step('folder, list, details, find, replace, move, permissions, delete', async () => {
  await sandbox.fs.createFolder('dir', '755')
  await sandbox.fs.uploadFile(Buffer.from('one two\n'), 'dir/a.txt')
  assert.deepEqual((await sandbox.fs.listFiles('dir')).map((f) => [f.name, f.size]), [['a.txt', 8]])
  assert.equal((await sandbox.fs.findFiles('dir', 'two')).length, 1)
  await sandbox.fs.replaceInFiles(['dir/a.txt'], 'two', 'three')
  await sandbox.fs.moveFiles('dir/a.txt', 'dir/b.txt')
  await sandbox.fs.setFilePermissions('dir/b.txt', { mode: '600' })
  assert.equal((await sandbox.fs.getFileDetails('dir/b.txt')).size, 10)
  assert.equal((await sandbox.fs.downloadFile('dir/b.txt')).toString(), 'one three\n')
  assert.equal((await sandbox.fs.searchFiles('dir', '*.txt')).files.length, 1)
  await sandbox.fs.deleteFile('dir', true)
  await assert.rejects(sandbox.fs.getFileDetails('dir/b.txt'))
})

await step('session with followed logs', async () => {
  await sandbox.process.createSession('s1')
  const command = await sandbox.process.executeSessionCommand('s1', {
    command: 'for i in 1 2 3; do echo $i; sleep 0.1; done; echo bad >&2; (exit 5)', runAsync: true,
  })
  let out = '', err = ''
  await sandbox.process.getSessionCommandLogs('s1', command.cmdId, (t) => (out += t), (t) => (err += t))
  assert.deepEqual([out.trim().split(/\s+/), err.trim()], [['1', '2', '3'], 'bad'])
  const logs = await sandbox.process.getSessionCommandLogs('s1', command.cmdId)
  assert.ok(logs.output.includes('bad'))
  assert.equal((await sandbox.process.getSessionCommand('s1', command.cmdId)).exitCode, 5)
  await sandbox.process.deleteSession('s1')
})

await step('terminal with input, resize and exit code', async () => {
  let screen = ''
  const pty = await sandbox.process.createPty({
    id: 'p1', cols: 80, rows: 24, onData: (d) => (screen += new TextDecoder().decode(d)),
  })
  await pty.waitForConnection()
  await pty.resize(101, 31)
  await pty.sendInput('echo pty-$((40+2)) $(stty size); exit 7\n')
  const end = await pty.wait()
  assert.ok(screen.includes('pty-42 31 101'), screen)
  assert.equal(end.exitCode, 7)
})

await step('preview link opened', async () => {
  const serve = "const s=require('http').createServer((q,r)=>r.end('hello '+q.url)).listen(0,'127.0.0.1',()=>require('fs').writeFileSync('port.new',''+s.address().port)||require('fs').renameSync('port.new','port'))"
  await sandbox.fs.uploadFile(Buffer.from(serve), 'serve.cjs')
  await sandbox.process.createSession('web')
  await sandbox.process.executeSessionCommand('web', { command: 'node serve.cjs', runAsync: true })
  const ran = await sandbox.process.executeCommand('n=0; until [ -s port ] || [ $n -ge 600 ]; do n=$((n+1)); sleep 0.1; done; cat port')
  const port = Number(ran.result)
  const link = await sandbox.getPreviewLink(port)
  assert.equal((await open(`${link.url}/page?x=1`, {})).status, 401)
  assert.deepEqual(await open(`${link.url}/page?x=1`, { 'x-daytona-preview-token': link.token }),
    { status: 200, text: 'hello /page?x=1' })
  if (sandbox.getSignedPreviewUrl) {
    const signed = await sandbox.getSignedPreviewUrl(port, 60)
    assert.deepEqual(await open(`${signed.url}/signed`, {}), { status: 200, text: 'hello /signed' })
  }
})

await step('settings', async () => {
  await sandbox.setLabels({ sdk: version, more: 'x' })
  await sandbox.setAutostopInterval(30)
  await sandbox.refreshData()
  assert.deepEqual([sandbox.labels.more, sandbox.autoStopInterval], ['x', 30])
})

await step('stop', async () => {
  await sandbox.stop()
  assert.equal(sandbox.state, 'stopped')
})

await step('start with files kept', async () => {
  await sandbox.start()
  const ran = await sandbox.process.executeCommand('sha256sum up.bin')
  assert.equal(ran.result.split(' ')[0], sha256(bytes))
})

await step('delete', async () => {
  await sandbox.delete()
  await assert.rejects(daytona.get(sandbox.id))
})
process.exit(0)
