#!/bin/bash
# An S3 server in one container, for trying things out: Ceph's monitor, one OSD on a file, and radosgw on port 7480.
# One copy of everything, and no managers. Data outlives a restart where CEPH_DATA is a volume.
set -euo pipefail

: "${AWS_ACCESS_KEY_ID:?the access key that clients will use}" "${AWS_SECRET_ACCESS_KEY:?its secret}"
DATA=${CEPH_DATA:-/var/lib/ceph/upfusion}
PORT=${S3_PORT:-7480}
export CEPH_CONF=$DATA/ceph.conf

main() {
  [ -e "$DATA/made" ] || make_cluster
  trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
  trap 'exit 0' TERM INT
  ceph-mon -f -i a &
  ceph-osd -f -i 0 &
  # Waits for the servers above. Before the store answers, so that nobody is turned away who is about to be known.
  radosgw-admin user info --uid upfusion >/dev/null 2>&1 ||
    radosgw-admin user create --uid upfusion --display-name upfusion \
      --access-key "$AWS_ACCESS_KEY_ID" --secret-key "$AWS_SECRET_ACCESS_KEY" >/dev/null
  radosgw -f -n client.rgw &
  echo "S3 on port $PORT"
  # Whichever ends first ends the container, which is then started anew.
  wait -n
}

make_cluster() {
  rm -rf "$DATA"/{mon,osd,rgw}
  mkdir -p "$DATA"/{mon,osd,rgw}
  write_configuration
  ceph-authtool --create-keyring "$DATA/keyring" --gen-key -n mon. --cap mon 'allow *'
  ceph-authtool "$DATA/keyring" --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *'
  ceph-authtool "$DATA/keyring" --gen-key -n client.rgw --cap mon 'allow *' --cap osd 'allow *'
  ceph-authtool "$DATA/keyring" --gen-key -n osd.0 --cap mon 'allow profile osd' --cap osd 'allow *'
  local map=$DATA/monmap
  monmaptool --create --clobber --fsid "$FSID" --addv a "[v2:127.0.0.1:3300]" "$map"
  ceph-mon --mkfs -i a --monmap "$map" --keyring "$DATA/keyring"
  ceph-mon -f -i a &
  ceph --connect-timeout 60 osd create
  ceph-osd -i 0 --mkfs
  kill %1
  wait %1 || true
  touch "$DATA/made"
}

write_configuration() {
  FSID=$(cat /proc/sys/kernel/random/uuid)
  cat >"$CEPH_CONF" <<END
[global]
fsid = $FSID
mon host = [v2:127.0.0.1:3300]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
keyring = $DATA/keyring
admin socket =
run dir = $DATA
log file =
log to stderr = false
err to stderr = true
mon cluster log file =
mon data = $DATA/mon
osd data = $DATA/osd
rgw data = $DATA/rgw
osd objectstore = bluestore
bluestore block create = true
# Sparse: it takes what is in it.
bluestore block size = ${CEPH_BYTES:-53687091200}
osd memory target = 939524096
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 1
mon data avail crit = 1
# Making each pool waits for these, which otherwise takes a minute.
paxos propose interval = 0.05
paxos min wait = 0.01
mon tick interval = 1
objecter tick interval = 0.5
[client.rgw]
rgw frontends = beast endpoint=0.0.0.0:$PORT tcp_nodelay=1
rgw enable usage log = false
rgw run sync thread = false
rgw relaxed region enforcement = true
END
}

main
