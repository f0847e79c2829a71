package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// report is the table at the end.
func (d *demo) report(out io.Writer) {
	fmt.Fprintln(out)
	tw := tabwriter.NewWriter(out, 0, 4, 3, ' ', 0)
	fmt.Fprintln(tw, "STEP\tVOTERS\tTOOK\tNOTICE TO HOOK COMPLETED\tTO NEW VOTER\tLONGEST WRITE STALL")
	for _, s := range d.steps {
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\n", s.name, s.voters, short(s.ended.Sub(s.began)), short(s.hook), short(s.voter), short(s.stall))
	}
	tw.Flush()
	lost := "not read back"
	if d.lost >= 0 {
		lost = strconv.Itoa(d.lost)
	}
	fmt.Fprintf(out, "\nacknowledged writes: %d   lost: %s   longest write stall: %s\n",
		d.writer.Acked(), lost, short(d.writer.LongestStall()))
}

func short(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%.1fs", d.Seconds())
}

// lookAround tells what can be done with what runs.
func (d *demo) lookAround(out io.Writer) {
	f := d.fleet
	fmt.Fprintf(out, "\nIt runs on until you press Ctrl-C. In another shell:\n\n")
	fmt.Fprintln(out, "  # how a node decides, and what the others say")
	for _, h := range f.Hosts() {
		fmt.Fprintf(out, "  %s status --control %s   # %s, %s\n", f.Binaries().Quorumd, h.ControlSocket(), h.Name, h.ID)
	}
	if all := f.Hosts(); len(all) > 0 {
		fmt.Fprintf(out, "  curl %s\n  curl %s\n", all[0].StatusURL(), all[0].MetricsURL())
	}
	fmt.Fprintln(out, "\n  # etcd")
	fmt.Fprintf(out, "  %s --endpoints %s member list -w table\n", f.Binaries().Etcdctl, strings.Join(f.Endpoints(), ","))
	fmt.Fprintln(out, "\n  # the group: what it did, and what you want it to do")
	fmt.Fprintf(out, "  curl %s/_fake/timeline\n", f.AWS())
	fmt.Fprintf(out, "  curl -d '{\"desired\":5}' %s/_fake/groups/%s/desired\n", f.AWS(), f.Group)
	if all := f.Hosts(); len(all) > 0 {
		fmt.Fprintf(out, "  curl -d '{}' %s/_fake/instances/%s/terminate\n", f.AWS(), all[0].ID)
	}
	fmt.Fprintf(out, "\n  # logs of all nodes\n  ls %s\n", f.LogDir())
}
