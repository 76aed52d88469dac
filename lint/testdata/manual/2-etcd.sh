# Установка etcd
sudo apt install -y etcd-server etcd-client
# Создание директорий
sudo mkdir -p /etc/etcd /var/lib/etcd
sudo chown etcd:etcd /var/lib/etcd
# Создание конфигурации etcd
sudo tee /etc/etcd/etcd.conf > /dev/null << EOF
ETCD_NAME="etcd1"
ETCD_DATA_DIR="/var/lib/etcd"
ETCD_LISTEN_PEER_URLS="http://192.168.184.151:2380"
ETCD_LISTEN_CLIENT_URLS="http://192.168.184.151:2379,http://127.0.0.1:2379"
ETCD_INITIAL_ADVERTISE_PEER_URLS="http://192.168.184.151:2380"
ETCD_ADVERTISE_CLIENT_URLS="http://192.168.184.151:2379"
ETCD_INITIAL_CLUSTER="etcd1=http://192.168.184.151:2380,etcd2=http://192.168.184.152:2380,etcd3=http://192.168.184.153:2380"
ETCD_INITIAL_CLUSTER_TOKEN="etcd-cluster-patroni"
ETCD_INITIAL_CLUSTER_STATE="new"
EOF
