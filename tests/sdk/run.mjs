// Drives the unmodified official SDKs against a running `sandbox-coder serve`.
// DAYTONA_API_URL and DAYTONA_API_KEY say where. Ends with 0 when every step of every SDK held.
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'

const config = { apiUrl: process.env.DAYTONA_API_URL, apiKey: process.env.DAYTONA_API_KEY }

async function drive(name) {
  const { Daytona } = await import(name)
  const daytona = new Daytona(config)
  const begin = performance.now()
  const step = (what) => console.log(`${name}: ${what} (${Math.round(performance.now() - begin)} ms)`)
  const sandbox = await daytona.create({ labels: { sdk: name } })
  step('created')
  try {
    const ran = await sandbox.process.executeCommand('echo hi; exit 3')
    assert.deepEqual([ran.result.trim(), ran.exitCode], ['hi', 3])
    step('exec')
    const bytes = randomBytes(300_000)
    await sandbox.fs.uploadFile(bytes, 'up.bin')
    assert.ok(bytes.equals(await sandbox.fs.downloadFile('up.bin')))
    step('upload and download')
    await sandbox.process.createSession('s1')
    const command = await sandbox.process.executeSessionCommand('s1', {
      command: 'for i in 1 2 3; do echo $i; sleep 0.1; done; echo bad >&2', runAsync: true,
    })
    let out = '', err = ''
    await sandbox.process.getSessionCommandLogs('s1', command.cmdId, (t) => (out += t), (t) => (err += t))
    assert.deepEqual([out.trim().split(/\s+/), err.trim()], [['1', '2', '3'], 'bad'])
    await sandbox.process.deleteSession('s1')
    step('session with followed logs')
    let screen = ''
    const pty = await sandbox.process.createPty({
      id: 'p1', cols: 80, rows: 24, onData: (d) => (screen += new TextDecoder().decode(d)),
    })
    await pty.waitForConnection()
    await pty.sendInput('echo pty-$((40+2)); exit 7\n')
    const end = await pty.wait()
    assert.ok(screen.includes('pty-42'), screen)
    assert.equal(end.exitCode, 7)
    step('terminal with input and exit code')
    const link = await sandbox.getPreviewLink(3000)
    assert.match(link.url, /^http:\/\/3000-.*\.localhost:\d+$/)
    step('preview link')
    await sandbox.stop()
    assert.equal(sandbox.state, 'stopped')
    await sandbox.start()
    assert.equal((await sandbox.process.executeCommand('wc -c < up.bin')).result.trim(), '300000')
    step('stopped and started')
  } finally {
    await sandbox.delete()
  }
  await assert.rejects(daytona.get(sandbox.id))
  step('deleted')
}

for (const name of ['sdk-0190', 'sdk-newest']) await drive(name)
console.log('both SDKs: all steps held')
process.exit(0)
