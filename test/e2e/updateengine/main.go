// Command updateengine stands in for Flatcar's update_engine on a host of the lab: it
// owns com.coreos.update1 on the system bus and answers as far as somebody listens who
// has to reboot the machine for an update. AttemptUpdate installs one at once, which
// then waits for the reboot; as with the real one a file under /run remembers that, so
// it outlives this process and not the boot.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	name    = "com.coreos.update1"
	path    = dbus.ObjectPath("/com/coreos/update1")
	manager = name + ".Manager"

	completed = "/run/update_engine_autoupdate_completed"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.Export(engine{conn}, path, manager); err != nil {
		return err
	}
	switch reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); {
	case err != nil:
		return err
	case reply != dbus.RequestNameReplyPrimaryOwner:
		return fmt.Errorf("%s is taken (%d)", name, reply)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	select {
	case <-stop:
		return nil
	case <-conn.Context().Done():
		return errors.New("the bus is gone")
	}
}

// engine has the methods of the manager.
type engine struct{ conn *dbus.Conn }

// GetStatus is (x d s s x).
func (e engine) GetStatus() (checked int64, progress float64, operation, version string, size int64, _ *dbus.Error) {
	data, err := os.ReadFile(completed)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, 0, "UPDATE_STATUS_IDLE", "", 0, nil
	case err != nil:
		return 0, 0, "", "", 0, dbus.MakeFailedError(err)
	}
	return time.Now().Unix(), 1, "UPDATE_STATUS_UPDATED_NEED_REBOOT", string(data), 400 << 20, nil
}

// AttemptUpdate finds and installs an update, and tells so by the signal.
func (e engine) AttemptUpdate() *dbus.Error {
	if err := os.WriteFile(completed, []byte("4230.2.0"), 0o644); err != nil {
		return dbus.MakeFailedError(err)
	}
	checked, progress, operation, version, size, derr := e.GetStatus()
	if derr != nil {
		return derr
	}
	if err := e.conn.Emit(path, manager+".StatusUpdate", checked, progress, operation, version, size); err != nil {
		return dbus.MakeFailedError(err)
	}
	return nil
}
