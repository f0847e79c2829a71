package datadir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/quorumd/quorumd/agent/policy"
)

// Record types of etcd's write-ahead log (server/storage/wal).
const (
	recordMetadata = 1
	recordCRC      = 4
)

// record is walpb.Record.
type record struct {
	kind uint64
	crc  uint32
	data []byte
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// parseHead reads the identity from the beginning of a segment. Every segment
// begins with a record that carries the checksum over all segments before, and
// the metadata record. It allocates nothing that the input could make large.
func parseHead(b []byte) (policy.MemberID, policy.ClusterID, error) {
	first, b, err := nextRecord(b)
	if err != nil {
		return 0, 0, fmt.Errorf("first record: %w", err)
	}
	if first.kind != recordCRC {
		return 0, 0, fmt.Errorf("first record is of type %d, not a checksum", first.kind)
	}
	meta, _, err := nextRecord(b)
	if err != nil {
		return 0, 0, fmt.Errorf("metadata record: %w", err)
	}
	if meta.kind != recordMetadata {
		return 0, 0, fmt.Errorf("second record is of type %d, not metadata", meta.kind)
	}
	if crc32.Update(first.crc, castagnoli, meta.data) != meta.crc {
		return 0, 0, errors.New("metadata record: checksum does not match")
	}
	var member, cluster uint64
	err = eachField(meta.data, func(num int, v uint64, _ []byte) {
		switch num {
		case 1:
			member = v
		case 2:
			cluster = v
		}
	})
	if err != nil {
		return 0, 0, fmt.Errorf("metadata: %w", err)
	}
	if member == 0 || cluster == 0 {
		return 0, 0, errors.New("metadata: no member or cluster id")
	}
	return policy.MemberID(member), policy.ClusterID(cluster), nil
}

// nextRecord takes one framed record off b. The frame is a little-endian int64:
// the lower 56 bits are the record's length; when the sign is set, the lowest
// three bits of the top byte count the bytes of padding after it.
func nextRecord(b []byte) (record, []byte, error) {
	if len(b) < 8 {
		return record{}, nil, errors.New("cut short")
	}
	frame := binary.LittleEndian.Uint64(b)
	b = b[8:]
	size := frame & (1<<56 - 1)
	var pad uint64
	if frame>>63 == 1 {
		pad = frame >> 56 & 7
	}
	switch {
	case size == 0: // space that was prepared and never written
		return record{}, nil, errors.New("not written")
	case size+pad > uint64(len(b)):
		return record{}, nil, fmt.Errorf("length %d is more than there is", size)
	}
	var r record
	err := eachField(b[:size], func(num int, v uint64, data []byte) {
		switch num {
		case 1:
			r.kind = v
		case 2:
			r.crc = uint32(v)
		case 3:
			r.data = data
		}
	})
	return r, b[size+pad:], err
}

// eachField calls f for each field of a protobuf message: with the value of a
// varint, or the bytes of a length-delimited field. Other kinds are skipped.
func eachField(b []byte, f func(num int, v uint64, data []byte)) error {
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return errors.New("malformed protobuf tag")
		}
		b = b[n:]
		num := int(tag >> 3)
		switch tag & 7 {
		case 0: // varint
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return errors.New("malformed protobuf varint")
			}
			b = b[n:]
			f(num, v, nil)
		case 1: // 64 bit
			if len(b) < 8 {
				return errors.New("protobuf field cut short")
			}
			b = b[8:]
		case 2: // length-delimited
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errors.New("protobuf field cut short")
			}
			f(num, 0, b[n:n+int(size)])
			b = b[n+int(size):]
		case 5: // 32 bit
			if len(b) < 4 {
				return errors.New("protobuf field cut short")
			}
			b = b[4:]
		default:
			return fmt.Errorf("protobuf wire type %d", tag&7)
		}
	}
	return nil
}
