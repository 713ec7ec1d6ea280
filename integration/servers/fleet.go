package servers

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"
)

// startLimit bounds every start, the slowest (three Kafka brokers on a busy two-core machine) included.
const startLimit = 150 * time.Second

// supervisorEnv marks the second start of this executable.
const supervisorEnv = "SIDEWIRE_SERVERS_SUPERVISOR"

// request is what a fleet asks of its supervisor, one JSON line each; every request has one reply.
type request struct {
	Op      string   `json:"op"` // start, signal, wait
	Argv    []string `json:"argv,omitempty"`
	Env     []string `json:"env,omitempty"`
	Dir     string   `json:"dir,omitempty"`
	Log     string   `json:"log,omitempty"` // stdout and stderr are appended to this file
	UID     int      `json:"uid,omitempty"` // 0: as the supervisor
	GID     int      `json:"gid,omitempty"`
	PID     int      `json:"pid,omitempty"`
	Signal  int      `json:"signal,omitempty"`
	Seconds float64  `json:"seconds,omitempty"` // how long wait waits
}

type reply struct {
	Root   string `json:"root,omitempty"`
	PID    int    `json:"pid,omitempty"`
	Exited bool   `json:"exited,omitempty"`
	Status string `json:"status,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Missing says that a server is not installed here.
type Missing struct{ What string }

func (m *Missing) Error() string { return m.What + " is not installed; `make servers` installs it" }

// Fleet is a set of servers that live and die together. Its methods may be called from several goroutines at once.
type Fleet struct {
	root string // temporary folder of all its servers

	supervisor *exec.Cmd
	in         io.WriteCloser
	talk       sync.Mutex // one request and its reply at a time
	out        *bufio.Reader

	mu    sync.Mutex
	names map[string]int
	ports map[int]net.Listener // reservations, see Port
	next  int                  // where the search for a port goes on
}

// New starts the supervisor of a fleet that has no servers yet.
func New() (*Fleet, error) {
	if runtime.GOOS != "linux" {
		return nil, errors.New("private servers need Linux")
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), supervisorEnv+"=1")
	cmd.Stderr = os.Stderr
	detach(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the supervisor: %w", err)
	}
	f := &Fleet{
		supervisor: cmd, in: in, out: bufio.NewReader(out),
		names: map[string]int{}, ports: map[int]net.Listener{}, next: os.Getpid() * 7,
	}
	hello, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("reading from the supervisor: %w", err)
	}
	f.root = hello.Root
	return f, nil
}

// Close kills every server, removes their folders and returns when both is done.
func (f *Fleet) Close() error {
	f.in.Close()
	err := f.supervisor.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	for port, reservation := range f.ports {
		reservation.Close()
		delete(f.ports, port)
	}
	return err
}

func (f *Fleet) ask(req request) (reply, error) {
	f.talk.Lock()
	defer f.talk.Unlock()
	if err := json.NewEncoder(f.in).Encode(req); err != nil {
		return reply{}, fmt.Errorf("asking the supervisor: %w", err)
	}
	return f.read()
}

func (f *Fleet) read() (reply, error) {
	line, err := f.out.ReadBytes('\n')
	if err != nil {
		return reply{}, err
	}
	var r reply
	if err := json.Unmarshal(line, &r); err != nil {
		return reply{}, err
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// folder makes an empty folder for one server: ROOT/mariadb-1.
func (f *Fleet) folder(kind string) (string, error) {
	f.mu.Lock()
	f.names[kind]++
	dir := filepath.Join(f.root, kind+"-"+strconv.Itoa(f.names[kind]))
	f.mu.Unlock()
	return dir, os.Mkdir(dir, 0o755)
}

// Ports below the range the kernel hands out to clients, so that no outgoing connection takes one before its server
// binds it.
const firstPort, lastPort = 20000, 29999

// Port reserves a free port of 127.0.0.1 until the fleet is closed.
func (f *Fleet) Port() (int, error) { return f.PortRange(1) }

// PortRange reserves n consecutive ports and returns the first. Other fleets on this machine see the reservation,
// an abstract Unix socket of a well-known name a port, which the kernel drops with the process that holds it.
func (f *Fleet) PortRange(n int) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for tries := 0; tries < lastPort-firstPort; tries++ {
		first := firstPort + f.next%(lastPort-firstPort-n)
		f.next += n
		held := map[int]net.Listener{}
		for port := first; port < first+n; port++ {
			if l := reserve(port); l != nil {
				held[port] = l
				continue
			}
			break
		}
		if len(held) == n {
			for port, l := range held {
				f.ports[port] = l
			}
			return first, nil
		}
		for _, l := range held {
			l.Close()
		}
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

// reserve returns nil when the port is reserved by somebody or in use.
func reserve(port int) net.Listener {
	reservation, err := net.Listen("unix", "@sidewire-port-"+strconv.Itoa(port))
	if err != nil {
		return nil
	}
	inUse, err := net.Listen("tcp", local(port))
	if err != nil {
		reservation.Close()
		return nil
	}
	inUse.Close()
	return reservation
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// find looks a program up in PATH and in the folders where packages put servers.
func find(program, what string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", &Missing{What: what}
}

// cacheDir is where scripts/servers.sh keeps what is no package; the rule is the same there.
func cacheDir() string {
	if dir := os.Getenv("SIDEWIRE_CACHE"); dir != "" {
		return dir
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "sidewire")
	}
	return "/var/cache/sidewire"
}

// tool runs a program that is expected to end, such as one that initialises a data folder, under the supervisor too:
// a killed test leaves none of them either.
func (f *Fleet) tool(ctx context.Context, dir string, uid, gid int, argv ...string) error {
	p := &Process{fleet: f, Name: filepath.Base(argv[0]), Dir: dir, argv: argv, uid: uid, gid: gid}
	if err := p.start(); err != nil {
		return err
	}
	status, err := p.wait(ctx)
	if err != nil {
		p.Kill()
		return fmt.Errorf("waiting for %s: %w\n%s", p.Name, err, p.LogTail())
	}
	if status != "exit code 0" {
		return fmt.Errorf("running %s: %s\n%s", p.Name, status, p.LogTail())
	}
	return nil
}
