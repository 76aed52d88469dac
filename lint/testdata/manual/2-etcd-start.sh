# На всех трех узлах выполняем:
sudo systemctl enable etcd
sudo systemctl start etcd
