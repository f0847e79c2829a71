package fakeaws

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// ids makes identifiers that look like AWS's and repeat with the seed. Each kind
// has its own stream: the number of API calls must not change the next
// instance's id.
type ids struct {
	instances, tokens, requests, metadata, groups, activities *rand.Rand
}

func newIDs(seed uint64) *ids {
	stream := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	return &ids{instances: stream(1), tokens: stream(2), requests: stream(3), metadata: stream(4), groups: stream(5),
		activities: stream(6)}
}

// instance returns an id of the form i-0123456789abcdef0.
func (i *ids) instance() string { return fmt.Sprintf("i-0%016x", i.instances.Uint64()) }

func (i *ids) token() string { return uuid(i.tokens) }

func (i *ids) request() string { return uuid(i.requests) }

// session returns a metadata token.
func (i *ids) session() string {
	return fmt.Sprintf("AQAAA%016x%016x%016x==", i.metadata.Uint64(), i.metadata.Uint64(), i.metadata.Uint64())
}

func uuid(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("%08x-%04x-4%03x-%04x-%012x",
		a>>32, a>>16&0xffff, a&0xfff, 0x8000|b>>48&0x3fff, b&0xffffffffffff)
}

// accessKeyPrefix begins the access key ids that metadata hands to instances.
// The instance id follows: it is how a call's signature tells the calling instance.
const accessKeyPrefix = "ASIAFAKE"

func accessKey(instanceID string) string {
	return accessKeyPrefix + strings.ToUpper(strings.TrimPrefix(instanceID, "i-"))
}

func instanceOfKey(key string) string {
	if hex, ok := strings.CutPrefix(key, accessKeyPrefix); ok {
		return "i-" + strings.ToLower(hex)
	}
	return ""
}
