package fakeaws

// AdminUsage describes the admin API; GET /_fake/ answers with it. Bodies and answers
// are JSON; a duration is text such as "90s".
const AdminUsage = `GET    /_fake/                              this list
GET    /_fake/state                         groups and instances as they are now
GET    /_fake/timeline                      the event log as a table
GET    /_fake/events?since=SEQ              the event log after entry SEQ
GET    /_fake/calls                         API and metadata requests so far
POST   /_fake/groups/NAME/desired           {"desired": 3}
POST   /_fake/groups/NAME/limits            {"min": 0, "max": 5}
POST   /_fake/groups/NAME/suspend           {"processes": ["Launch"]}
POST   /_fake/groups/NAME/resume            {"processes": ["Launch"]}
DELETE /_fake/groups/NAME?force=true        delete the group
POST   /_fake/instances/ID/terminate        {"via": "group"|"ec2"|"spot", "decrement": true, "in": "2m"}
POST   /_fake/instances/ID/metadata         {"path": "spot/instance-action", "value": "..."}
DELETE /_fake/instances/ID/metadata?path=P  back to what it was
GET    /_fake/faults                        faults in place
POST   /_fake/faults                        {"kind": "throttling", "service": "ec2", "action": "", "instance": "",
                                            "status": 503, "latency": "2s", "times": 3}
DELETE /_fake/faults[/ID]                   end one, or all
POST   /_fake/staleness                     {"delay": "5s"}
`
