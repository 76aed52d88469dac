# 1. Приостанавливаем автоматический фейловер
patronictl -c /etc/patroni/config.yml pause
# 2. Выполняем обслуживание на репликах
# 3. Выполняем switchover для обслуживания primary
patronictl -c /etc/patroni/config.yml switchover --master node1 --candidate node2
# 4. Обслуживаем бывший primary
# 5. Возобновляем автоматический фейловер
patronictl -c /etc/patroni/config.yml resume
