"""What the scripts here share: building, ports, processes, their cost, and the traffic.

The gateway and all that belongs to it runs on one core (GATE_CORE), the sender and the app on another
(LOAD_CORE). Every wait has an end, and every process is killed when the script ends, however it ends.
"""
import argparse, atexit, base64, ctypes, hashlib, hmac, http.client, json, os, re, shutil, signal, socket, subprocess, sys, time

HERE = os.path.dirname(os.path.abspath(__file__))
PROJECT = os.path.dirname(os.path.dirname(HERE))
TARGET = os.environ.get("CARGO_TARGET_DIR", PROJECT + "/target")
RUNS = TARGET + "/compare"  # On the disk that builds are on, and not where /tmp may be memory.
LOAD_CORE, GATE_CORE = 0, 1
SECRET = "3f9b1c7e5d2a48f6b0c1d2e3f4a5b6c7"
PATH = "/hooks"
TICKS = os.sysconf("SC_CLK_TCK")
libc = ctypes.CDLL(None)


# Building

CARGO = ["cargo", "build", "--release", "--locked", "--quiet"]


def build():
    """Builds the gateway and the load generator as they are released."""
    if not {LOAD_CORE, GATE_CORE} <= os.sched_getaffinity(0):
        sys.exit(f"cores {LOAD_CORE} and {GATE_CORE} are needed")
    if "PASSGATE" not in os.environ:
        subprocess.run(CARGO + ["--bins"], cwd=PROJECT, check=True)
    # Without the gateway's profile, which knows nothing of it.
    subprocess.run(CARGO + ["--target-dir", TARGET + "/load"], cwd=HERE + "/load", env=dict(os.environ, RUSTC_WRAPPER=""), check=True)


def build_bench(name):
    """Builds a bench of the project; the path of its program."""
    said = subprocess.run(CARGO + ["--bench", name, "--message-format", "json"], cwd=PROJECT, check=True, stdout=subprocess.PIPE)
    for message in map(json.loads, said.stdout.splitlines()):
        if message.get("executable") and message["target"]["name"] == name:
            return message["executable"]
    raise RuntimeError(f"cargo names no program for {name}")


other_passgate = ""  # Another binary, for the peer that is visited.


def passgate():
    """The gateway's binary; PASSGATE names another one, for a whole run."""
    return other_passgate or os.environ.get("PASSGATE", TARGET + "/release/passgate")


LOAD = TARGET + "/load/release/load"


# Processes

_running = []


class Server:
    """A process on a core of its own. What it says of trouble goes to a file of its folder; its log goes
    nowhere: a file on the store's disk would be synced with every commit."""

    def __init__(self, command, core, folder, env=None):
        self.log = f"{folder}/{os.path.basename(command[0])}.log"

        def settle_in():
            os.sched_setaffinity(0, {core})
            libc.prctl(1, signal.SIGKILL)  # Dies with the script.

        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, env=dict(os.environ, **(env or {})), stdout=subprocess.DEVNULL, stderr=log,
                                            start_new_session=True, preexec_fn=settle_in)
        self.pid = self.process.pid
        _running.append(self)

    def wait_for(self, port, secs=20):
        """Until the port takes connections."""
        def open_():
            if self.process.poll() is not None:
                tail = open(self.log).read()[-600:]
                raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}: {tail}")
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).close()
                return True
            except OSError:
                return False
        wait(open_, secs, f"port {port}", 0.002)
        return self

    def stop(self, by=signal.SIGTERM):
        if self in _running:
            _running.remove(self)
        if self.process.poll() is None:
            try:
                os.killpg(self.pid, by)
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                os.killpg(self.pid, signal.SIGKILL)
                self.process.wait(8)
            except ProcessLookupError:
                pass


def _stop_all():
    for server in _running[:]:
        server.stop(signal.SIGKILL)


atexit.register(_stop_all)
for _name in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_name, lambda *_: sys.exit(1))


def wait(ready, secs, what, pause=0.02):
    """Asks until it is so; an error after `secs`."""
    end = time.monotonic() + secs
    while not ready():
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {secs} s")
        time.sleep(pause)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def folder(name):
    """An empty folder for one run."""
    path = f"{RUNS}/{name}-{os.getpid()}"
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(path)
    atexit.register(shutil.rmtree, path, True)
    return path


# What they cost

def tree(pid):
    """The process and all below it."""
    children = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(open(f"/proc/{name}/stat").read().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(name))
        except OSError:
            pass
    found, ahead = [], [pid]
    while ahead:
        found.append(ahead.pop())
        ahead += children.get(found[-1], [])
    return found


def cpu_secs(servers):
    """User and system seconds of the processes and all below them, ended ones included."""
    ticks = 0
    for pid in [pid for server in servers for pid in tree(server.pid)]:
        try:
            ticks += sum(map(int, open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            pass
    return ticks / TICKS


def wait_until_idle(server, secs=120):
    """A start goes on in the background, where filters of what is remembered are read anew, and so does what a load left to do."""
    def idle():
        before = cpu_secs([server])
        time.sleep(0.5)
        return cpu_secs([server]) - before < 0.03
    wait(idle, secs, "idle")


def memory_mib(servers, field="VmHWM"):
    """VmHWM: the most that was resident; VmRSS: what is now."""
    kib = 0
    for pid in [pid for server in servers for pid in tree(server.pid)]:
        try:
            kib += int(re.search(field + r":\s+(\d+)", open(f"/proc/{pid}/status").read())[1])
        except (OSError, TypeError):
            pass
    return kib / 1024


def forget_peaks(servers):
    """VmHWM counts from now on."""
    for pid in [pid for server in servers for pid in tree(server.pid)]:
        try:
            with open(f"/proc/{pid}/clear_refs", "w") as file:
                file.write("5")
        except OSError:
            pass


def core_busy(core):
    """(busy, all) ticks of a core."""
    for line in open("/proc/stat"):
        words = line.split()
        if words[0] == f"cpu{core}":
            ticks = list(map(int, words[1:9]))
            return sum(ticks) - ticks[3] - ticks[4] - ticks[7], sum(ticks)
    raise RuntimeError(f"there is no core {core}")


_awake = None


def stay_awake():
    """Keeps idle cores from halting while the script runs, where that is allowed.

    On a virtual machine a wake-up costs an exit to the host, tens of microseconds, and throughput flips
    between two modes. Undone by the kernel when the file is closed."""
    global _awake
    try:
        _awake = open("/dev/cpu_dma_latency", "wb", buffering=0)
        _awake.write((0).to_bytes(4, "little"))
    except OSError as error:
        print(f"idle cores may halt ({error}): figures vary more", file=sys.stderr)


# Traffic

def body(size, run=""):
    """A card's event of `size` bytes, with the marks that the generator fills in."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    data = {"card_id": "card_000000", "number": "000000000000", "run": run, "recipient_id": "recipient_5e6f7a8b9c0d1122",
            "campaign_id": "campaign_2d9c41e07b5f46a8", "provider": "apple", "old_status": "invited",
            "new_status": "active", "metadata": {"externalId": "user_0010442", "locale": "de-AT",
                                                 "device": "iPhone17,1", "tier": "gold"}, "history": [], "note": ""}
    event = {"event": "card.active", "timestamp": now, "organization_id": 123, "data": data}
    dump = lambda: json.dumps(event, separators=(",", ":"))
    while size > 4096 and len(dump()) < size - 120:
        digits = hashlib.sha256(str(len(data["history"])).encode()).hexdigest()
        data["history"].append({"id": "txn_" + digits[:20], "amount": len(digits), "merchant": digits[20:44]})
    data["note"] = "x" * max(0, size - len(dump()))
    return dump().encode()


def ask(method, port, path, body=None, headers=None):
    """One request; its status, headers and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def signed(body, delivery_id):
    """The headers of a signed event."""
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return {"Content-Type": "application/json", "X-WalletWerk-Signature": signature, "X-WalletWerk-Delivery-ID": delivery_id}


def send(port, body, delivery_id, path=PATH):
    """One signed event; its status."""
    return ask("POST", port, path, body, signed(body, delivery_id))[0]


def is_ready(admin):
    try:
        return ask("GET", admin, "/readyz")[0] == 200
    except OSError:
        return False


def metric(admin, name, labels=""):
    """The sum of a metric over its labels, those that hold `labels` in them."""
    lines = ask("GET", admin, "/metrics")[2].decode().splitlines()
    found = [float(line.rsplit(" ", 1)[1]) for line in lines if re.match(name + "[{ ]", line) and labels in line]
    return sum(found)


class App(Server):
    """The app behind the gateway."""

    def __init__(self, folder, port=None):
        self.port = port or free_ports(1)[0]
        super().__init__([LOAD, "app", f"listen=127.0.0.1:{self.port}"], LOAD_CORE, folder)
        self.wait_for(self.port)

    def seen(self, key="requests"):
        return json.loads(ask("GET", self.port, "/")[2])[key]

    def refuse(self, yes):
        ask("GET", self.port, f"/?refuse={int(yes)}")

    def wait_until_still(self, secs=60):
        """Until nothing has come for 0.3 s; the count."""
        last = [-1, time.monotonic()]

        def still():
            now = self.seen()
            if now != last[0]:
                last[:] = [now, time.monotonic()]
            return time.monotonic() - last[1] > 0.3
        wait(still, secs, "the app still gets events", 0.05)
        return last[0]


def events(folder, size=600):
    """Events of a run of its own, as words for the generator."""
    run = os.urandom(8).hex()
    file = f"{folder}/body-{run}"
    with open(file, "wb") as f:
        f.write(body(size, run))
    return {"run": run, "body": file}


def load(command, port, folder, size=600, path=PATH, background=False, of=None, **words):
    """Runs the generator: what it saw. In the background: a process whose output `saw` reads. `of`: events of an earlier run."""
    given = dict(words, to=f"127.0.0.1:{port}", path=path, secret=SECRET, **(of or events(folder, size)))
    process = subprocess.Popen([LOAD, command, *(f"{k}={v}" for k, v in given.items())], stdout=subprocess.PIPE, text=True,
                               preexec_fn=lambda: (os.sched_setaffinity(0, {LOAD_CORE}), libc.prctl(1, signal.SIGKILL)))
    return process if background else saw(process, words.get("secs", 5) + 60)


def saw(process, secs):
    """What a generator saw, once it ends; it is killed after `secs`."""
    try:
        said, _ = process.communicate(timeout=secs)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise RuntimeError(f"the generator did not end within {secs} s")
    if process.returncode:
        raise RuntimeError(f"the generator ended with {process.returncode}")
    return json.loads(said)


# Results

def fill_in(text, **values):
    """`text` with every @NAME@ replaced."""
    values.setdefault("SECRET", SECRET)
    values.setdefault("SECRET_BASE64", base64.b64encode(SECRET.encode()).decode())
    return re.sub("@([A-Z_0-9]+)@", lambda found: str(values[found[1]]), text)


class Goals:
    """Figures against goals: prints each, and remembers whether one was missed."""

    def __init__(self):
        self.rows = []

    def hold(self, name, figure, relation, goal, unit=""):
        met = figure is not None and (figure <= goal if relation == "<=" else figure >= goal)
        self.rows.append({"figure": name, "value": figure, "goal": f"{relation} {goal}", "unit": unit, "met": met})
        shown = "none" if figure is None else f"{figure:,}" if isinstance(figure, int) else f"{figure:,.3g}" if figure < 10 else f"{figure:,.1f}"
        unit = unit and " " + unit
        print(f"{'met   ' if met else 'MISSED'}  {name}: {shown}{unit} (goal {relation} {goal:,}{unit})", flush=True)

    def note(self, name, figure, unit):
        """A figure without a goal, beside which another one is to be read."""
        self.rows.append({"figure": name, "value": figure, "goal": None, "unit": unit, "met": None})
        print(f"        {name}: {figure:,.3g} {unit}", flush=True)

    def write(self, file):
        if file:
            with open(file, "w") as f:
                json.dump({"machine": machine(), "goals": self.rows}, f, indent=1)


def arguments(doc, **knobs):
    """The command line of a script: `knobs` are its numbers with their defaults and what they mean."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, (default, meaning) in knobs.items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help=f"{meaning} ({default:,})")
    parser.add_argument("--json", metavar="FILE", help="keeps the figures")
    return parser.parse_args()


def machine():
    """Where and of what the figures were taken."""
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=PROJECT, capture_output=True, text=True).stdout
    return {"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "kernel": os.uname().release, "cores": os.cpu_count(),
            "cpu": cpu[1] if cpu else "?", "commit": commit.strip(), "load": os.getloadavg()[0]}
