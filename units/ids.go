package units

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Where the kernel and systemd keep the two ids.
const (
	DefaultBootIDFile    = "/proc/sys/kernel/random/boot_id"
	DefaultMachineIDFile = "/etc/machine-id"
	DefaultDMIDir        = "/sys/class/dmi/id"
)

// BootID reads the id of this boot, a UUID that the kernel makes anew with every
// boot. It is what proves that a reboot happened. An empty file means
// DefaultBootIDFile; only hosts that share a kernel need another.
func BootID(file string) (string, error) { return readID("boot id", file, DefaultBootIDFile) }

// MachineID reads the id of this installation, 32 hex digits. An image that was
// snapshotted carries it along, so it does not identify an instance.
func MachineID(file string) (string, error) {
	return readID("machine id", file, DefaultMachineIDFile)
}

// Hardware reads what the firmware says of this machine, which no copy of its disk
// carries along: the product's UUID, and the asset tag, which is the instance id on
// EC2's Nitro. What it does not say is empty: small hypervisors have no firmware at
// all. An empty dir means DefaultDMIDir. The UUID is for root only.
func Hardware(dir string) (product, assetTag string, err error) {
	if dir == "" {
		dir = DefaultDMIDir
	}
	read := func(name string) string {
		data, e := os.ReadFile(filepath.Join(dir, name))
		if e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = fmt.Errorf("read hardware id: %w", e)
		}
		return strings.TrimSpace(string(data))
	}
	return read("product_uuid"), read("board_asset_tag"), err
}

func readID(what, file, fallback string) (string, error) {
	if file == "" {
		file = fallback
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", what, err)
	}
	id := strings.TrimSpace(string(data))
	// systemd writes "uninitialized" into machine-id during the first boot.
	if len(strings.ReplaceAll(id, "-", "")) != 32 || strings.Trim(id, "0123456789abcdef-") != "" {
		return "", fmt.Errorf("read %s: %s holds no id: %.40q", what, file, id)
	}
	return id, nil
}
