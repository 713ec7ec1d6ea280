package admin

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// State is where the process is in its life, in Envoy's words.
type State string

const (
	Starting State = "INITIALIZING" // no configuration is in force yet
	Live     State = "LIVE"
	Draining State = "DRAINING"
)

// Drain says how a drain was asked for.
type Drain struct {
	Graceful bool // keep accepting: the application is still finishing
	SkipExit bool // stay when it is done
}

// Life is what probes ask about and operators change. Its functions are called on the goroutine of a request and must
// return at once.
type Life struct {
	drain  func(Drain)
	resume func()
	quit   func()

	state  atomic.Pointer[State]
	failed atomic.Bool
}

// NewLife begins in Starting. drain is called by /drain_listeners, resume by /healthcheck/ok, quit by /quitquitquit.
func NewLife(drain func(Drain), resume, quit func()) *Life {
	l := &Life{drain: drain, resume: resume, quit: quit}
	l.Set(Starting)
	return l
}

// Set moves to a state.
func (l *Life) Set(s State) { l.state.Store(&s) }

// State is the state as others see it: a live process whose health an operator failed is draining.
func (l *Life) State() State {
	s := *l.state.Load()
	if s == Live && l.failed.Load() {
		return Draining
	}
	return s
}

// Failed reports whether an operator made the process unready.
func (l *Life) Failed() bool { return l.failed.Load() }

// Fail makes the process report unready, or takes that back.
func (l *Life) Fail(failed bool) { l.failed.Store(failed) }

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	state := s.options.Life.State()
	if state != Live {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, state)
}

func (s *Server) healthcheck(fail bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.options.Life.Fail(fail)
		if !fail {
			s.options.Life.resume()
		}
		s.options.Log.Info("health set by operator", "failed", fail)
		fmt.Fprintln(w, "OK")
	}
}

func (s *Server) drain(w http.ResponseWriter, req *http.Request) {
	q := req.URL.Query()
	for name := range q {
		switch name {
		case "graceful", "skip_exit", "inboundonly":
		default:
			http.Error(w, fmt.Sprintf("unknown parameter %q; expected graceful, skip_exit or inboundonly", name), http.StatusBadRequest)
			return
		}
	}
	d := Drain{Graceful: q.Has("graceful"), SkipExit: q.Has("skip_exit")}
	if d.SkipExit && !d.Graceful {
		http.Error(w, "skip_exit needs graceful", http.StatusBadRequest)
		return
	}
	s.options.Log.Info("drain asked for by operator", "graceful", d.Graceful, "skip_exit", d.SkipExit)
	s.options.Life.drain(d)
	fmt.Fprintln(w, "OK")
}

func (s *Server) quit(w http.ResponseWriter, _ *http.Request) {
	s.options.Log.Info("end asked for by operator")
	fmt.Fprintln(w, "OK")
	s.options.Life.quit()
}

func (s *Server) serverInfo(w http.ResponseWriter, _ *http.Request) {
	up := s.options.Now().Sub(s.options.Source.Started()).Truncate(time.Second)
	seconds := fmt.Sprintf("%ds", int(up.Seconds()))
	line := s.options.CommandLine
	if line == nil {
		line = map[string]any{}
	}
	writeJSON(w, map[string]any{
		"version": s.options.Version, "state": s.options.Life.State(), "uptime_current_epoch": seconds, "uptime_all_epochs": seconds,
		"hot_restart_version": "disabled", "command_line_options": line, "node": s.options.Node,
	})
}
