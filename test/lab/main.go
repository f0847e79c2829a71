//go:build linux

package lab

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// watchEnv makes this test binary, started again by Main, the watcher of the
// process with that id.
const watchEnv = "QUORUMD_LAB_WATCH"

// Main wraps the tests of a package that uses labs:
//
//	func TestMain(m *testing.M) { os.Exit(lab.Main(m.Run)) }
//
// It says so clearly where it cannot run, removes what a crashed run left,
// closes the labs upon Ctrl-C, and starts a watcher that cleans up should this
// process end in any other way (a panic, the test timeout, SIGKILL).
func Main(run func() int) int {
	if pid := os.Getenv(watchEnv); pid != "" {
		return watch(pid)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "lab:", ErrNotRoot)
		return 1
	}
	if err := Reap(); err != nil {
		fmt.Fprintln(os.Stderr, "lab: remove what an earlier run left:", err)
		return 1
	}
	if err := startWatcher(); err != nil {
		fmt.Fprintln(os.Stderr, "lab: start the watcher:", err)
		return 1
	}
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, syscall.SIGINT, syscall.SIGTERM)
	go func() { // ends with the process
		sig := <-interrupted
		fmt.Fprintln(os.Stderr, "lab: closing upon", sig)
		if err := live.closeAll(); err != nil {
			fmt.Fprintln(os.Stderr, "lab:", err)
		}
		// Die of the same signal, as the caller's shell expects.
		signal.Reset(sig)
		_ = syscall.Kill(os.Getpid(), sig.(syscall.Signal))
	}()
	code := run()
	if err := live.closeAll(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return max(code, 1)
	}
	return code
}

func startWatcher() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", watchEnv, os.Getpid()))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // outlives a Ctrl-C at the terminal
	if err := cmd.Start(); err != nil {                  // no stdout of ours: `go test` would wait for it
		return err
	}
	return cmd.Process.Release() // it ends after us
}

// watch waits for the end of a process, however it comes, and then removes
// what it left. By then the kernel has given back the locks of its labs.
func watch(owner string) int {
	pid, err := strconv.Atoi(owner)
	if err != nil {
		return 2
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil && os.Getppid() == pid { // else it is gone already
		waitReadable(fd)
	}
	if Reap() != nil {
		return 1
	}
	return 0
}

func waitReadable(fd int) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if err != unix.EINTR {
			return
		}
	}
}

// waitExited returns when a child has ended, and leaves it to be waited for.
func waitExited(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}
