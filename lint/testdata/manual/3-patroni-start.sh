# На всех трех узлах выполняем:
sudo systemctl daemon-reload
sudo systemctl enable patroni
# На узле 1 останавливаем стандартный PostgreSQL и запускаем Patroni
sudo systemctl stop postgresql
sudo systemctl start patroni
# Ждем 30 секунд для инициализации primary, затем на узлах 2 и 3:
sudo systemctl start patroni
# Проверяем статус
sudo systemctl status patroni
