package fleetlock

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

// zincati is the application id with which Zincati derives its own id.
var zincati = [16]byte{0xde, 0x35, 0x10, 0x6b, 0x6e, 0xc2, 0x46, 0x88, 0xb6, 0x3a, 0xfd, 0xda, 0xa1, 0x56, 0x67, 0x9b}

// ZincatiID is the id with which the Zincati of a machine asks: systemd's
// application-specific form of its machine id (32 hex digits), which is a keyed hash
// in the shape of a version 4 UUID.
func ZincatiID(machineID string) (string, error) {
	key, err := hex.DecodeString(machineID)
	if err != nil || len(key) != 16 {
		return "", fmt.Errorf("derive Zincati's id: %.40q is no machine id", machineID)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write(zincati[:]) // a hash never fails
	id := mac.Sum(nil)[:16]
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id), nil
}
