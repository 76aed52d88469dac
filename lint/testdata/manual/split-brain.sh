# Принудительная установка лидера
patronictl -c /etc/patroni/config.yml failover --leader node1 --candidate node2
# Или экстренное выключение проблемного узла
sudo systemctl stop patroni
