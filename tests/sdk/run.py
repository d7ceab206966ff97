# Drives one unmodified official Python SDK against the server that DAYTONA_API_URL and DAYTONA_API_KEY name.
# usage: python run.py SDK-VERSION ISOLATION; prints a line for each step, `passed` or `FAILED` first.
import asyncio
import hashlib
import os
import sys
import time

import daytona as daytona_module
from daytona import CreateSandboxFromSnapshotParams, Daytona, DaytonaConfig, SessionExecuteRequest

version, isolation = sys.argv[1:]
daytona = Daytona(DaytonaConfig(api_url=os.environ["DAYTONA_API_URL"], api_key=os.environ["DAYTONA_API_KEY"]))
content = os.urandom(3_000_001)
sandbox = None


def step(what):
    def run(act):
        begin = time.monotonic()
        name = f"Python {version}, {isolation}: {what}"
        try:
            act()
            print(f"passed  {name} ({round((time.monotonic() - begin) * 1000)} ms)", flush=True)
        except Exception as error:
            text = " ".join(f"{type(error).__name__}: {error}".split())
            print(f"FAILED  {name}: {text[:600]}", flush=True)

    return run


@step("create")
def _():
    global sandbox
    sandbox = daytona.create(CreateSandboxFromSnapshotParams(labels={"sdk": version}, env_vars={"GREETING": "hallo"}))
    assert "started" in str(sandbox.state).lower(), sandbox.state


if sandbox is None:
    sys.exit(1)


@step("get")
def _():
    assert daytona.get(sandbox.id).id == sandbox.id


@step("list")
def _():
    # What `list` takes and answers changed between the two.
    if hasattr(daytona_module, "ListSandboxesQuery"):
        listed = daytona.list(daytona_module.ListSandboxesQuery(labels={"sdk": version}))
    else:
        listed = daytona.list({"sdk": version})
    items = listed.items if hasattr(listed, "items") else listed
    assert sandbox.id in [item.id for item in items]


@step("execute with output, variable, directory and exit code")
def _():
    ran = sandbox.process.exec("echo $GREETING $MORE; pwd; exit 3", cwd="/tmp", env={"MORE": "more"})
    assert (ran.result.split(), ran.exit_code) == (["hallo", "more", "/tmp"], 3), ran


@step("upload 3 MB, checked inside")
def _():
    sandbox.fs.upload_file(content, "up.bin")
    ran = sandbox.process.exec("sha256sum up.bin")
    assert ran.result.split()[0] == hashlib.sha256(content).hexdigest(), ran.result


@step("download 3 MB, every byte")
def _():
    assert sandbox.fs.download_file("up.bin") == content


@step("folder, list, details, find, replace, move, delete")
def _():
    sandbox.fs.create_folder("dir", "755")
    sandbox.fs.upload_file(b"one two\n", "dir/a.txt")
    assert [(f.name, f.size) for f in sandbox.fs.list_files("dir")] == [("a.txt", 8)]
    assert len(sandbox.fs.find_files("dir", "two")) == 1
    sandbox.fs.replace_in_files(["dir/a.txt"], "two", "three")
    sandbox.fs.move_files("dir/a.txt", "dir/b.txt")
    assert sandbox.fs.get_file_info("dir/b.txt").size == 10
    assert sandbox.fs.search_files("dir", "*.txt").files
    sandbox.fs.delete_file("dir/b.txt")
    assert sandbox.fs.list_files("dir") == []


@step("session with followed logs")
def _():
    sandbox.process.create_session("s1")
    request = SessionExecuteRequest(
        command="for i in 1 2 3; do echo $i; sleep 0.1; done; echo bad >&2; (exit 5)", run_async=True
    )
    command = sandbox.process.execute_session_command("s1", request)
    out, err = [], []
    asyncio.run(sandbox.process.get_session_command_logs_async("s1", command.cmd_id, out.append, err.append))
    assert ("".join(out).split(), "".join(err).strip()) == (["1", "2", "3"], "bad"), (out, err)
    assert sandbox.process.get_session_command("s1", command.cmd_id).exit_code == 5
    assert "bad" in sandbox.process.get_session_command_logs("s1", command.cmd_id).output
    sandbox.process.delete_session("s1")


@step("terminal with input, resize and exit code")
def _():
    from daytona.common.pty import PtySize

    pty = sandbox.process.create_pty_session("p1", pty_size=PtySize(cols=80, rows=24))
    pty.resize(PtySize(cols=101, rows=31))
    pty.send_input("echo pty-$((40+2)) $(stty size); exit 7\n")
    screen = []
    end = pty.wait(on_data=screen.append)
    assert b"pty-42 31 101" in b"".join(screen), screen
    assert end.exit_code == 7, end


@step("preview link")
def _():
    link = sandbox.get_preview_link(3000)
    assert link.url.startswith("http://3000-") and link.token, link


@step("stop, start with files kept")
def _():
    sandbox.stop()
    sandbox.start()
    assert sandbox.process.exec("sha256sum up.bin").result.split()[0] == hashlib.sha256(content).hexdigest()


@step("delete")
def _():
    daytona.delete(sandbox)
    try:
        daytona.get(sandbox.id)
    except Exception as error:
        assert "not found" in str(error), error
    else:
        raise AssertionError("still there")


# Its background threads may hold an event socket open.
os._exit(0)
