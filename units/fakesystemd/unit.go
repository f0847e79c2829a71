package fakesystemd

import (
	"context"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/quorumd/quorumd/units"
)

type jobKind string

const (
	jobStart   jobKind = "start"
	jobStop    jobKind = "stop"
	jobRestart jobKind = "restart"
)

// job is work that a unit has been asked to do and has not finished.
type job struct {
	id   uint32
	kind jobKind
}

// request is what others may ask of a unit's goroutine: one of the three.
type request struct {
	job         jobKind
	signal      syscall.Signal
	resetFailed bool
	reply       chan uint32 // the job's id; capacity 1
}

// unit is one service. Its goroutine, run, alone changes it.
type unit struct {
	host     *Host
	spec     Unit
	requests chan request
	notes    chan note
	exits    chan exit

	// Of the goroutine run only.
	job      *job
	proc     *process
	stopping bool      // SIGTERM was sent to proc
	timedOut bool      // and SIGKILL, too
	killAt   stopwatch // StopTimeout
	again    stopwatch // RestartDelay

	mu      sync.Mutex
	set     settings // as of the last Reload
	state   units.UnitState
	changed chan struct{} // closed and replaced with every change of state
}

func newUnit(h *Host, spec Unit) *unit {
	return &unit{
		host: h, spec: spec,
		requests: make(chan request), notes: make(chan note), exits: make(chan exit),
		state: units.UnitState{
			Name: spec.Name, LoadState: units.LoadStateLoaded,
			ActiveState: units.ActiveStateInactive, SubState: "dead", Result: "success",
		},
		changed: make(chan struct{}),
	}
}

func notFound(name string) units.UnitState {
	return units.UnitState{Name: name, LoadState: units.LoadStateNotFound,
		ActiveState: units.ActiveStateInactive, SubState: "dead", Result: "success"}
}

// run is the unit's goroutine. It keeps its thread: children get Pdeathsig, which
// the kernel sends when the thread that made them ends.
func (u *unit) run(off context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer u.kill()
	for {
		select {
		case <-off.Done():
			return
		case r := <-u.requests:
			r.reply <- u.handle(r)
		case n := <-u.notes:
			u.noted(n)
		case e := <-u.exits:
			u.exited(e)
		case <-u.killAt.c:
			u.timedOut = true
			u.proc.signal(syscall.SIGKILL)
			u.update(func(s *units.UnitState) { s.SubState = "stop-sigkill" })
		case <-u.again.c:
			u.again.stop()
			n := u.state.NRestarts + 1
			u.job = &job{u.host.jobs.Add(1), jobRestart}
			u.begin(n)
		}
	}
}

// ask hands r to the goroutine and waits for its answer.
func (u *unit) ask(r request) (uint32, error) {
	r.reply = make(chan uint32, 1)
	select {
	case u.requests <- r:
		return <-r.reply, nil
	case <-u.host.off.Done():
		return 0, ErrPoweredOff
	}
}

func (u *unit) handle(r request) uint32 {
	switch {
	case r.resetFailed:
		if u.state.ActiveState == units.ActiveStateFailed {
			u.update(func(s *units.UnitState) {
				s.ActiveState, s.SubState, s.Result = units.ActiveStateInactive, "dead", "success"
			})
		}
		return 0
	case r.job != "":
		return u.enqueue(r.job)
	}
	if u.proc != nil {
		u.proc.signal(r.signal)
	}
	return 0
}

// enqueue takes on a job in mode "replace": the same work in progress is joined,
// any other is cancelled.
func (u *unit) enqueue(kind jobKind) uint32 {
	if u.job != nil {
		joins := u.job.kind == kind && (kind != jobRestart || u.stopping)
		if joins || kind == jobStart && u.job.kind == jobRestart {
			return u.job.id
		}
		u.finish("canceled", unchanged)
	}
	id := u.host.jobs.Add(1)
	u.job = &job{id, kind}
	u.again.stop()
	switch {
	case u.proc != nil && kind == jobStart && !u.stopping:
		u.finish("done", unchanged)
	case u.proc != nil:
		u.terminate()
	case kind == jobStop:
		u.finish("done", idle)
	default:
		u.begin(0)
	}
	return id
}

// terminate begins to stop the process; exited does the rest. The job to be done
// then is u.job.
func (u *unit) terminate() {
	if u.stopping {
		u.update(unchanged) // but for the job
		return
	}
	u.stopping, u.timedOut = true, false
	u.killAt.start(u.spec.StopTimeout)
	u.update(func(s *units.UnitState) {
		s.ActiveState, s.SubState = units.ActiveStateDeactivating, "stop-sigterm"
	})
	u.proc.signal(syscall.SIGTERM)
	u.proc.signal(syscall.SIGCONT) // a stopped process could not take the SIGTERM
}

// begin starts the process for u.job; n is the number of automatic restarts.
func (u *unit) begin(n int) {
	u.mu.Lock()
	set := u.set
	u.mu.Unlock()
	for _, c := range set.conditions {
		if !c.holds() {
			u.finish("done", func(s *units.UnitState) {
				s.ConditionResult = false
				idle(s)
			})
			return
		}
	}
	if len(set.check) > 0 && !u.checked(set) {
		return
	}
	p, err := u.spawn(set.env)
	if err != nil {
		u.host.log.Error("unit could not be started", "unit", u.spec.Name, "err", err)
		u.update(func(s *units.UnitState) {
			s.ConditionResult, s.NRestarts = true, n
			s.InvocationID = randomHex()
		})
		u.ended(exit{code: 203}, "exit-code") // systemd's EXIT_EXEC
		return
	}
	u.proc = p
	started := func(s *units.UnitState) {
		s.ActiveState, s.SubState = units.ActiveStateActivating, "start"
		s.Result, s.ExecMainStatus, s.StatusText = "success", 0, ""
		s.MainPID, s.NRestarts, s.InvocationID, s.ConditionResult = p.pid, n, p.invocation, true
	}
	if u.spec.NotifyReady {
		u.update(started)
		return
	}
	u.finish("done", func(s *units.UnitState) {
		started(s)
		s.ActiveState, s.SubState = units.ActiveStateActive, "running"
	})
}

// checked runs the unit's ExecCondition= and reports whether the start goes on. Any
// exit code but 0 and 255 skips it, which is no failure.
func (u *unit) checked(set settings) bool {
	cmd := exec.CommandContext(u.host.off, set.check[0], set.check[1:]...)
	cmd.Env, cmd.Dir = u.environment(set.env), u.spec.WorkingDir
	cmd.Stdout, cmd.Stderr = u.spec.Stdout, u.spec.Stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if err == nil {
		return true
	}
	u.host.log.Info("unit is not started", "unit", u.spec.Name, "condition", err)
	if code := cmd.ProcessState.ExitCode(); code < 1 || code > 254 { // nil: -1
		u.ended(exit{code: max(code, 0)}, "exit-code")
		return false
	}
	u.finish("done", func(s *units.UnitState) {
		s.ConditionResult, s.Result = true, "exec-condition"
		idle(s)
	})
	return false
}

// idle is the state of a unit that does not run and will not by itself. A failed
// one stays failed.
func idle(s *units.UnitState) {
	if !s.Stopped() {
		s.ActiveState, s.SubState = units.ActiveStateInactive, "dead"
	}
}

// noted takes in one sd_notify message of the process.
func (u *unit) noted(n note) {
	if n.from != u.proc {
		return
	}
	for line := range strings.SplitSeq(n.text, "\n") {
		key, value, _ := strings.Cut(line, "=")
		switch {
		case key == "STATUS":
			u.update(func(s *units.UnitState) { s.StatusText = value })
		case line == "READY=1" && u.state.SubState == "start":
			u.finish("done", func(s *units.UnitState) {
				s.ActiveState, s.SubState = units.ActiveStateActive, "running"
			})
		}
	}
}

// exited takes in the end of the main process and kills what is left of its
// group.
func (u *unit) exited(e exit) {
	u.proc.close()
	u.proc = nil
	u.killAt.stop()
	clean := e.code == 0 && e.signal == 0
	switch e.signal {
	case syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE:
		clean = true
	}
	result := "exit-code"
	switch {
	case u.timedOut:
		result = "timeout"
	case clean && u.state.SubState == "start":
		result = "protocol" // it ended without READY=1
	case clean:
		result = "success"
	case e.signal != 0:
		result = "signal"
	}
	u.ended(e, result)
}

// ended moves on from a run that is over (or never began) to what comes next: the
// rest of a job, a restart, or nothing.
func (u *unit) ended(e exit, result string) {
	wasStopping := u.stopping
	u.stopping, u.timedOut = false, false
	restart := u.spec.Restart && !wasStopping
	over := func(s *units.UnitState) {
		s.MainPID, s.Result, s.ExecMainStatus = 0, result, e.code
		if e.signal != 0 {
			s.ExecMainStatus = int(e.signal)
		}
		switch {
		case restart:
			s.ActiveState, s.SubState = units.ActiveStateActivating, units.SubStateAutoRestart
		case result == "success":
			s.ActiveState, s.SubState = units.ActiveStateInactive, "dead"
		default:
			s.ActiveState, s.SubState = units.ActiveStateFailed, "failed"
		}
	}
	switch {
	case !wasStopping:
		u.finish("failed", over) // a start that did not get to READY=1, if any
	case u.job != nil && u.job.kind != jobStop:
		u.update(over)
		u.begin(0)
	default:
		u.finish("done", over)
	}
	if restart {
		u.again.start(u.spec.RestartDelay)
	}
}

// kill is the end of the machine for this unit.
func (u *unit) kill() {
	u.again.stop()
	u.killAt.stop()
	if u.proc == nil {
		return
	}
	u.proc.signal(syscall.SIGKILL)
	e := <-u.exits
	u.proc.close()
	u.proc = nil
	u.update(func(s *units.UnitState) {
		s.ActiveState, s.SubState, s.MainPID = units.ActiveStateFailed, "failed", 0
		s.Result, s.ExecMainStatus = "signal", int(e.signal)
	})
}

// finish ends the current job, if there is one, and says so on the bus. Nobody
// sees the change without the end of the job or the other way round.
func (u *unit) finish(result string, change func(*units.UnitState)) {
	j := u.job
	u.job = nil
	u.update(change)
	if j != nil {
		u.host.bus.jobRemoved(j.id, u.spec.Name, result)
	}
}

func unchanged(*units.UnitState) {}

// update changes the state and tells everyone, if there is something to tell.
func (u *unit) update(change func(*units.UnitState)) {
	u.mu.Lock()
	before := u.state
	change(&u.state)
	u.state.JobID = 0
	if u.job != nil {
		u.state.JobID = u.job.id
	}
	if u.state.ActiveState != before.ActiveState || u.state.SubState != before.SubState {
		u.state.StateChange = time.Now().UTC().Truncate(time.Microsecond)
	}
	after := u.state
	if after == before {
		u.mu.Unlock()
		return
	}
	close(u.changed)
	u.changed = make(chan struct{})
	u.mu.Unlock()
	u.host.log.Debug("unit changed", "unit", u.spec.Name, "active", after.ActiveState, "sub", after.SubState,
		"result", after.Result, "pid", after.MainPID, "job", after.JobID)
	u.host.bus.propertiesChanged(u, after)
}

func (u *unit) snapshot() (units.UnitState, <-chan struct{}) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.state, u.changed
}

func (u *unit) configure(s settings) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.set = s
}

// stopwatch is a timer whose channel is nil, so never ready, while it is not
// running.
type stopwatch struct {
	timer *time.Timer
	c     <-chan time.Time
}

func (s *stopwatch) start(d time.Duration) {
	s.stop()
	s.timer = time.NewTimer(d)
	s.c = s.timer.C
}

func (s *stopwatch) stop() {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer, s.c = nil, nil
}
