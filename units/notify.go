package units

import (
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells systemd about this process (sd_notify). Without NOTIFY_SOCKET
// in the environment, that is when not run by systemd, its methods do nothing.
// The zero value is ready to use.
type Notifier struct{}

// Ready reports that start-up is finished. Type=notify units that are ordered
// after this one start only then.
func (Notifier) Ready() error { return notify(daemon.SdNotifyReady) }

// Watchdog reports that the main loop still turns. systemd kills and restarts a
// service that does not say so for WatchdogSec: call it from the loop itself,
// never from a goroutine that would go on while the loop hangs.
func (Notifier) Watchdog() error { return notify(daemon.SdNotifyWatchdog) }

// Stopping reports that shutdown has begun.
func (Notifier) Stopping() error { return notify(daemon.SdNotifyStopping) }

// Status sets the one line that `systemctl status` shows. Line breaks become
// spaces: to systemd they would separate one assignment from the next.
func (Notifier) Status(line string) error {
	return notify("STATUS=" + strings.NewReplacer("\n", " ", "\r", " ").Replace(line))
}

// WatchdogInterval returns within which time systemd wants to hear Watchdog, 0
// if it does not. Call Watchdog about every half of it.
func (Notifier) WatchdogInterval() (time.Duration, error) {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return 0, fmt.Errorf("read watchdog interval: %w", err)
	}
	return d, nil
}

func notify(state string) error {
	if _, err := daemon.SdNotify(false, state); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
